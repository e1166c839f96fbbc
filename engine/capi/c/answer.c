/* Answers each client's first bytes with a greeting and closes: a consumer in C.
 *
 *   cc -o answer answer.c -I ../include -L ../../../target/debug -lusher
 *   ./answer CONFIGURATION SERVICE [CONNECTIONS]
 *
 * Takes no more after so many connections, and ends when they have. */
#include <stdio.h>
#include <stdlib.h>

#include "usher.h"

#define BATCH 64

static const char greeting[] = "hello from C\n";

int main(int argc, char **argv)
{
	struct UsherEvent events[BATCH];
	struct UsherConsumer *consumer;
	struct UsherEngine *engine;
	unsigned long left;

	if (argc < 3) {
		fprintf(stderr, "usage: answer CONFIGURATION SERVICE [CONNECTIONS]\n");
		return 2;
	}
	left = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
	engine = usher_start(argv[1]);
	if (engine == NULL) {
		fprintf(stderr, "answer: %s\n", usher_error());
		return 2;
	}
	/* One worker; with more, a thread each. */
	consumer = usher_consumer(engine, argv[2], 0);
	if (consumer == NULL) {
		fprintf(stderr, "answer: %s\n", usher_error());
		usher_stop(engine);
		return 2;
	}
	puts("usher ready");
	fflush(stdout);
	while (!usher_is_closed(consumer)) {
		size_t count = usher_poll(consumer, events, BATCH);

		for (size_t i = 0; i < count; i++) {
			struct UsherEvent *event = &events[i];

			switch (event->kind) {
			case USHER_EVENT_KIND_PEEKED:
				printf("%zu bytes\n", event->len);
				usher_lease_free(event->lease);
				if (!usher_respond(consumer, event->flow, (const uint8_t *)greeting, sizeof(greeting) - 1))
					fprintf(stderr, "answer: %s\n", usher_error());
				if (left > 0 && --left == 0)
					usher_drain(engine, 1000);
				break;
			case USHER_EVENT_KIND_DATA:
				usher_lease_free(event->lease);
				break;
			case USHER_EVENT_KIND_PEER_CLOSED:
				/* Our side is closed already. */
				break;
			case USHER_EVENT_KIND_ENDED:
				printf("ended, %llu bytes lost\n", (unsigned long long)event->bytes);
				break;
			default:
				break;
			}
		}
		fflush(stdout);
		if (count == 0)
			usher_wait(consumer, 100);
	}
	usher_consumer_free(consumer);
	usher_stop(engine);
	return 0;
}
