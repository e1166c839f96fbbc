#ifndef USHER_H
#define USHER_H

/* Generated from engine/capi by cbindgen: `UPDATE_HEADER=1 cargo test -p usher-capi` after a change. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 Which event it is.
 */
typedef enum UsherEventKind {
  /*
   A client has completed its handshake, and nothing is decided about the flow. Fields: client, credit.
   */
  USHER_EVENT_KIND_ESTABLISHED,
  /*
   Bytes of an undecided flow, which nobody has acknowledged. Fields: data, len, lease.
   */
  USHER_EVENT_KIND_PEEKED,
  /*
   Bytes of an owned flow, in order. Fields: data, len, lease.
   */
  USHER_EVENT_KIND_DATA,
  /*
   The client has acknowledged bytes that were written: as many may be written again. Fields: bytes.
   */
  USHER_EVENT_KIND_ACKNOWLEDGED,
  /*
   The client has closed its side of an owned flow.
   */
  USHER_EVENT_KIND_PEER_CLOSED,
  /*
   The flow is over, and its name is stale. Fields: bytes (written, and not acknowledged).
   */
  USHER_EVENT_KIND_ENDED,
  /*
   A command was not carried out. Fields: command, why.
   */
  USHER_EVENT_KIND_REFUSED,
} UsherEventKind;

/*
 Which command was refused.
 */
typedef enum UsherCommand {
  /*
   None: the event is another one.
   */
  USHER_COMMAND_NONE,
  /*
   usher_proxy
   */
  USHER_COMMAND_PROXY,
  /*
   usher_own
   */
  USHER_COMMAND_OWN,
  /*
   usher_write, usher_write_lease
   */
  USHER_COMMAND_WRITE,
  /*
   usher_close
   */
  USHER_COMMAND_CLOSE,
  /*
   usher_reset
   */
  USHER_COMMAND_RESET,
  /*
   usher_respond
   */
  USHER_COMMAND_RESPOND,
} UsherCommand;

/*
 Why a command was refused.
 */
typedef enum UsherObjection {
  /*
   It was not: the event is another one.
   */
  USHER_OBJECTION_NONE,
  /*
   The flow has ended, or is none of this consumer's.
   */
  USHER_OBJECTION_NO_SUCH_FLOW,
  /*
   The flow is not in the phase that the command needs.
   */
  USHER_OBJECTION_WRONG_PHASE,
  /*
   More bytes than the flow's credit.
   */
  USHER_OBJECTION_OVER_CREDIT,
  /*
   The service has no such backend, or none that can be connected to.
   */
  USHER_OBJECTION_NO_BACKEND,
} UsherObjection;

/*
 Takes the flows that one worker has of one service. One thread at a time may use it.
 */
typedef struct UsherConsumer UsherConsumer;

/*
 A running engine. One thread at a time may use it.
 */
typedef struct UsherEngine UsherEngine;

/*
 The bytes of an event, which are the caller's until it frees them by usher_lease_free or sends them by
 usher_write_lease. May be freed on any thread, also after usher_stop.
 */
typedef struct UsherLease UsherLease;

/*
 A flow's name, of one consumer and of one flow only.
 */
typedef uint64_t UsherFlow;

/*
 One event. Fields that its kind does not have are 0.
 */
typedef struct UsherEvent {
  /*
   Which event.
   */
  enum UsherEventKind kind;
  /*
   Which command was refused.
   */
  enum UsherCommand command;
  /*
   Why it was.
   */
  enum UsherObjection why;
  /*
   The client's TCP port.
   */
  uint16_t client_port;
  /*
   The client's address: IPv6, or IPv4 as ::ffff:a.b.c.d.
   */
  uint8_t client[16];
  /*
   How many bytes may be written before the first acknowledgement.
   */
  uint32_t credit;
  /*
   Which flow.
   */
  UsherFlow flow;
  /*
   How many bytes were acknowledged, or lost.
   */
  uint64_t bytes;
  /*
   What the client has sent: valid for as long as the lease.
   */
  const uint8_t *data;
  /*
   How many bytes.
   */
  size_t len;
  /*
   Whose they are: to be freed by the caller.
   */
  struct UsherLease *lease;
} UsherEvent;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Gives the bytes of an event back. NULL is nothing to give.

 # Safety
 `lease` is NULL, or came in an event and was neither freed nor sent.
 */
void usher_lease_free(struct UsherLease *lease);

/*
 Starts an engine by the configuration file at `path`: returns when every port is polled. Services that have
 `consumer_cores` cannot be run from C. NULL if it does not start.

 # Safety
 `path` is a string that ends with NUL.
 */
struct UsherEngine *usher_start(const char *path);

/*
 How many workers it has, and so consumers for each service.

 # Safety
 `engine` is one that usher_start returned and that was not stopped.
 */
size_t usher_workers(const struct UsherEngine *engine);

/*
 The consumer of a `ring` service's flows at a worker, counted from 0: the first one, or a new one if the last is gone.
 NULL if there is no such service or worker, or its consumer is there.

 # Safety
 `engine` is one that usher_start returned and that was not stopped; `service` is a string that ends with NUL.
 */
struct UsherConsumer *usher_consumer(struct UsherEngine *engine,
                                     const char *service,
                                     size_t worker);

/*
 Takes no new connections from now on; what is left after so many milliseconds is reset. Returns at once.

 # Safety
 `engine` is one that usher_start returned and that was not stopped.
 */
void usher_drain(const struct UsherEngine *engine,
                 uint32_t timeout_ms);

/*
 Whether a drain is done: no connection is left.

 # Safety
 `engine` is one that usher_start returned and that was not stopped.
 */
bool usher_is_finished(const struct UsherEngine *engine);

/*
 Ends an engine at once and frees it. Its consumers are closed, and still have to be freed. NULL is none.

 # Safety
 `engine` is NULL, or one that usher_start returned and that was not stopped.
 */
void usher_stop(struct UsherEngine *engine);

/*
 Writes at most `max` events to `events` and returns how many there were. Never blocks. Events with a lease allocate it.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed; `events` has room for `max`.
 */
size_t usher_poll(struct UsherConsumer *consumer,
                  struct UsherEvent *events,
                  size_t max);

/*
 Sleeps until an event waits or none will come any more, at most so many milliseconds. Returns false if only time has
 passed.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed.
 */
bool usher_wait(struct UsherConsumer *consumer,
                uint32_t timeout_ms);

/*
 Whether no event will come any more, and all were taken.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed.
 */
bool usher_is_closed(const struct UsherConsumer *consumer);

/*
 Gives a consumer up: what becomes of its flows is the service's `consumer_gone`. NULL is none.

 # Safety
 `consumer` is NULL, or one that usher_consumer returned and that was not freed.
 */
void usher_consumer_free(struct UsherConsumer *consumer);

/*
 Joins an undecided flow to a backend: this one of the service's, counted from 0, or the balancer's choice if it is
 negative. Returns false if the ring of commands is full: take events, and call it again.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed.
 */
bool usher_proxy(struct UsherConsumer *consumer,
                 UsherFlow flow,
                 int32_t backend);

/*
 Owns an undecided flow: its bytes come as data from now on, those that were peeked at, too, unless they are to be
 skipped. Returns false if the ring of commands is full.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed.
 */
bool usher_own(struct UsherConsumer *consumer,
               UsherFlow flow,
               bool skip_peeked);

/*
 Copies bytes and sends them on an owned flow, as far as there is room. Returns how many were.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed; `data` has `len` bytes.
 */
size_t usher_write(struct UsherConsumer *consumer, UsherFlow flow, const uint8_t *data, size_t len);

/*
 Sends the bytes of an event on an owned flow without copying them. Returns false if the ring of commands is full:
 then the lease is still the caller's, otherwise it no longer is.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed; `lease` came in an event and was neither freed
 nor sent.
 */
bool usher_write_lease(struct UsherConsumer *consumer,
                       UsherFlow flow,
                       struct UsherLease *lease);

/*
 Owns an undecided flow, sends a copy of these bytes and closes: all of it, or nothing if there is no room. Returns
 whether it did.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed; `data` has `len` bytes.
 */
bool usher_respond(struct UsherConsumer *consumer,
                   UsherFlow flow,
                   const uint8_t *data,
                   size_t len);

/*
 Closes our side of an owned flow behind what was written. Returns false if the ring of commands is full.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed.
 */
bool usher_close(struct UsherConsumer *consumer,
                 UsherFlow flow);

/*
 Ends a flow at once. Returns false if the ring of commands is full.

 # Safety
 `consumer` is one that usher_consumer returned and that was not freed.
 */
bool usher_reset(struct UsherConsumer *consumer, UsherFlow flow);

/*
 Why the last call on this thread that failed has failed: UTF-8, of one or several lines, "" before there was one. The
 text is valid until the next failure on this thread or its end.
 */
const char *usher_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* USHER_H */
