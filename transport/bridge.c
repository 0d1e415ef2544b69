#include "transport/bridge.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/memory.h"

void bridge_post(struct fl_mailbox *mailbox, struct bridge_post *post)
{
	fl_mailbox_post(mailbox, &post->node);
}

void bridge_drain(struct fl_list *items, void *userdata)
{
	struct fl_list *node;

	(void)userdata;
	while ((node = fl_list_pop(items)) != NULL) {
		struct bridge_post *post = FL_LIST_ENTRY(node, struct bridge_post, node);

		post->deliver(post);
	}
}

static void closer_main(void *arg)
{
	struct bridge_closer *closer = arg;

	nng_close(closer->socket);
	bridge_post(closer->mailbox, &closer->post);
}

void bridge_closer_start(
	struct bridge_closer *closer, struct fl_mailbox *mailbox, nng_socket socket)
{
	closer->mailbox = mailbox;
	closer->socket = socket;
	closer->threaded = uv_thread_create(&closer->thread, closer_main, closer) == 0;
	/* No thread to be had: better to make the loop wait than not to close. */
	if (!closer->threaded)
		closer_main(closer);
}

void bridge_closer_join(struct bridge_closer *closer)
{
	if (closer->threaded)
		uv_thread_join(&closer->thread);
}

const char *bridge_error_text(int rv)
{
	switch (rv) {
	case NNG_ECONNREFUSED:
		return "connection refused";
	case NNG_ECONNRESET:
	case NNG_ECONNABORTED:
	case NNG_ECONNSHUT:
		return "the peer closed the connection";
	case NNG_ECLOSED:
	case NNG_ECANCELED:
		return "canceled";
	case NNG_ETIMEDOUT:
		return "no answer";
	case NNG_EUNREACHABLE:
		return "the network or host cannot be reached";
	case NNG_EADDRINVAL:
		return "the address or host name is not valid or not known";
	case NNG_EADDRINUSE:
		return "the address is in use";
	case NNG_ENOENT:
		return "no such file or directory";
	case NNG_EPERM:
		return "permission denied";
	case NNG_EPROTO:
		return "the peer speaks another protocol";
	case NNG_EPEERAUTH:
		return "the TLS handshake failed";
	case NNG_ENOMEM:
		return "out of memory";
	case NNG_ENOFILES:
		return "out of file descriptors";
	default:
		return nng_strerror(rv);
	}
}

static void format_address(const nng_sockaddr *address, char *text, size_t size)
{
	static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

	text[0] = '\0';
	if (address->s_family == NNG_AF_INET)
		inet_ntop(AF_INET, &address->s_in.sa_addr, text, (socklen_t)size);
	else if (address->s_family != NNG_AF_INET6)
		return;
	else if (memcmp(address->s_in6.sa_addr, v4_mapped, sizeof(v4_mapped)) == 0)
		inet_ntop(AF_INET, address->s_in6.sa_addr + 12, text, (socklen_t)size);
	else
		inet_ntop(AF_INET6, address->s_in6.sa_addr, text, (socklen_t)size);
}

void bridge_pipe_address(nng_pipe pipe, const char *option, char *text, size_t size)
{
	nng_sockaddr address;

	text[0] = '\0';
	if (nng_pipe_get_addr(pipe, option, &address) == 0)
		format_address(&address, text, size);
}

/* nng hands its engines the stream itself as their opaque argument (tls_common.c: `tls_conn` begins
 * with it), and its address is the TCP stream's, which takes none of the locks held here. */
void bridge_stream_address(void *stream, char *text, size_t size)
{
	nng_sockaddr address;

	text[0] = '\0';
	if (nng_stream_get_addr(stream, NNG_OPT_REMADDR, &address) == 0)
		format_address(&address, text, size);
}
