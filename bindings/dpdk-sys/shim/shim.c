/* See shim.h. */
#include "shim.h"

int usher_errno(void) { return rte_errno; }
unsigned int usher_lcore_id(void) { return rte_lcore_id(); }
const char *usher_version(void) { return rte_version(); }
void usher_mbuf_free(struct rte_mbuf *m) { rte_pktmbuf_free(m); }
struct rte_mbuf *usher_mbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }
int usher_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **into, unsigned int count) { return rte_pktmbuf_alloc_bulk(pool, into, count); }
int usher_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail) { return rte_pktmbuf_chain(head, tail); }
int usher_mbuf_linearize(struct rte_mbuf *m) { return rte_pktmbuf_linearize(m); }
const void *usher_mbuf_read(const struct rte_mbuf *m, uint32_t off, uint32_t len, void *into) { return rte_pktmbuf_read(m, off, len, into); }
struct rte_mempool_cache *usher_pool_cache(struct rte_mempool *pool, unsigned int lcore) { return rte_mempool_default_cache(pool, lcore); }
unsigned int usher_pool_size(const struct rte_mempool *pool) { return pool->size; }
int usher_link_get(uint16_t port, struct rte_eth_link *into) { return rte_eth_link_get_nowait(port, into); }
int usher_link_is_up(const struct rte_eth_link *link) { return link->link_status; }
uint32_t usher_link_speed(const struct rte_eth_link *link) { return link->link_speed; }
FILE *usher_log_open(int fd) { return fdopen(fd, "a"); }
