//! Configuration: a TOML file (DESIGN section 6) becomes a [`Plan`], or a list of everything that is
//! wrong with it.
//!
//! Called at start, on reload and by `usher check`; never on the packet path.

mod plan;

pub use plan::{
    Cookies, Cores, DpdkPlan, EnginePlan, HandshakePlan, Memory, Plan, PortPlan, Prefix,
    SecretPlan, ServiceKind, ServicePlan,
};
