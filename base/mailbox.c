#include "base/mailbox.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/memory.h"

struct fl_mailbox {
	uv_async_t wake;
	pthread_mutex_t lock;
	struct fl_list items; /* guarded by lock */
	fl_mailbox_drain drain;
	fl_mailbox_closed closed;
	void *userdata;
};

static void drain(struct fl_mailbox *mailbox)
{
	struct fl_list items;

	fl_list_init(&items);
	pthread_mutex_lock(&mailbox->lock);
	fl_list_splice(&items, &mailbox->items);
	pthread_mutex_unlock(&mailbox->lock);
	if (!fl_list_empty(&items))
		mailbox->drain(&items, mailbox->userdata);
}

static void on_wake(uv_async_t *wake)
{
	drain(FL_CONTAINER(wake, struct fl_mailbox, wake));
}

enum fl_code fl_mailbox_open(struct fl_mailbox **ret_mailbox, uv_loop_t *loop,
	fl_mailbox_drain drain_cb, void *userdata, struct fl_error *err)
{
	struct fl_mailbox *mailbox = FL_NEW(struct fl_mailbox);
	int r;

	if (mailbox == NULL)
		return FL_FAIL_NO_MEMORY(err);
	r = uv_async_init(loop, &mailbox->wake, on_wake);
	if (r < 0) {
		free(mailbox);
		return FL_FAIL(err, FL_E_INTERNAL, "event loop: %s", uv_strerror(r));
	}
	pthread_mutex_init(&mailbox->lock, NULL);
	fl_list_init(&mailbox->items);
	mailbox->drain = drain_cb;
	mailbox->userdata = userdata;
	*ret_mailbox = mailbox;
	return FL_OK;
}

void fl_mailbox_post(struct fl_mailbox *mailbox, struct fl_list *node)
{
	bool first;

	/* The wake-up is sent under the lock: once a drain has emptied the list, nobody is still
	 * about to touch the handle. */
	pthread_mutex_lock(&mailbox->lock);
	first = fl_list_empty(&mailbox->items);
	fl_list_append(&mailbox->items, node);
	if (first)
		(void)uv_async_send(&mailbox->wake);
	pthread_mutex_unlock(&mailbox->lock);
}

static void on_closed(uv_handle_t *handle)
{
	struct fl_mailbox *mailbox = FL_CONTAINER((uv_async_t *)handle, struct fl_mailbox, wake);
	fl_mailbox_closed closed = mailbox->closed;
	void *userdata = mailbox->userdata;

	pthread_mutex_destroy(&mailbox->lock);
	free(mailbox);
	if (closed != NULL)
		closed(userdata);
}

void fl_mailbox_close(struct fl_mailbox *mailbox, fl_mailbox_closed closed)
{
	drain(mailbox);
	mailbox->closed = closed;
	uv_close((uv_handle_t *)&mailbox->wake, on_closed);
}
