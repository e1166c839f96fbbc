/* What DPDK only offers as inline functions, macros or bit-fields, under one prefix: `usher_`.
 * One line a function, no decisions. The list is the inventory: build.rs allows `usher_.*` whole. */
#ifndef USHER_SHIM_H
#define USHER_SHIM_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_config.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Offsets of the mbuf fields that Rust reads and writes itself. Later LTS releases nest these fields
 * differently; offsetof follows them, a field name in Rust would not. */
enum usher_mbuf_offset {
	USHER_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	USHER_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	USHER_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	USHER_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	USHER_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	USHER_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	USHER_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	USHER_MBUF_HASH_RSS = offsetof(struct rte_mbuf, hash.rss),
	USHER_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	USHER_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload),
	USHER_MBUF_SIZE = sizeof(struct rte_mbuf),
	USHER_MBUF_HEADROOM = RTE_PKTMBUF_HEADROOM,
	USHER_TX_L3_LEN_SHIFT = RTE_MBUF_L2_LEN_BITS,
	USHER_TX_L4_LEN_SHIFT = RTE_MBUF_L2_LEN_BITS + RTE_MBUF_L3_LEN_BITS,
};

/* Flags and limits that DPDK spells as function-like macros, which bindgen cannot evaluate. */
static const uint64_t USHER_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t USHER_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t USHER_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t USHER_RX_IP_CKSUM_NONE = RTE_MBUF_F_RX_IP_CKSUM_NONE;
static const uint64_t USHER_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t USHER_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t USHER_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t USHER_RX_L4_CKSUM_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE;
static const uint64_t USHER_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t USHER_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t USHER_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t USHER_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t USHER_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t USHER_TX_TCP_CKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t USHER_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t USHER_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t USHER_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t USHER_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t USHER_TX_OFFLOAD_TCP_CKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
static const uint64_t USHER_RSS_IPV4_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t USHER_RSS_IPV6_TCP = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
static const uint32_t USHER_RETA_GROUP = RTE_ETH_RETA_GROUP_SIZE;
static const uint32_t USHER_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t USHER_LCORE_ID_ANY = LCORE_ID_ANY;
static const uint32_t USHER_MAX_ETHPORTS = RTE_MAX_ETHPORTS;
static const uint32_t USHER_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE;
static const uint32_t USHER_VERSION = RTE_VERSION;

int usher_errno(void);
unsigned int usher_lcore_id(void);
const char *usher_version(void);
void usher_mbuf_free(struct rte_mbuf *m);
struct rte_mbuf *usher_mbuf_alloc(struct rte_mempool *pool);
int usher_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **into, unsigned int count);
int usher_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);
int usher_mbuf_linearize(struct rte_mbuf *m);
const void *usher_mbuf_read(const struct rte_mbuf *m, uint32_t off, uint32_t len, void *into);
struct rte_mempool_cache *usher_pool_cache(struct rte_mempool *pool, unsigned int lcore);
unsigned int usher_pool_size(const struct rte_mempool *pool);
int usher_link_get(uint16_t port, struct rte_eth_link *into);
int usher_link_is_up(const struct rte_eth_link *link);
uint32_t usher_link_speed(const struct rte_eth_link *link);
FILE *usher_log_open(int fd);

#endif
