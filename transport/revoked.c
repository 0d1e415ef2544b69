#include "transport/revoked.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/memory.h"

struct revoked {
	atomic_uint refs;
	pthread_mutex_t lock;
	struct fl_map *ids; /* guarded by lock; the values say nothing */
};

enum fl_code revoked_new(struct revoked **ret_revoked, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct revoked *revoked = FL_NEW(struct revoked);

	if (revoked == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&revoked->ids, err));
	atomic_init(&revoked->refs, 1);
	pthread_mutex_init(&revoked->lock, NULL);
	*ret_revoked = FL_TAKE(revoked);
	return FL_OK;
}

struct revoked *revoked_ref(struct revoked *revoked)
{
	if (revoked != NULL)
		atomic_fetch_add_explicit(&revoked->refs, 1, memory_order_relaxed);
	return revoked;
}

void revoked_unref(struct revoked *revoked)
{
	if (revoked == NULL ||
		atomic_fetch_sub_explicit(&revoked->refs, 1, memory_order_acq_rel) > 1)
		return;
	fl_map_free(revoked->ids);
	pthread_mutex_destroy(&revoked->lock);
	free(revoked);
}

enum fl_code revoked_set(
	struct revoked *revoked, const char *machine_id, bool is_revoked, struct fl_error *err)
{
	enum fl_code code = FL_OK;

	pthread_mutex_lock(&revoked->lock);
	if (!is_revoked)
		(void)fl_map_remove(revoked->ids, machine_id);
	else if (fl_map_get(revoked->ids, machine_id) == NULL)
		code = fl_map_put(revoked->ids, machine_id, revoked, err);
	pthread_mutex_unlock(&revoked->lock);
	return code;
}

bool revoked_has(struct revoked *revoked, const char *machine_id)
{
	bool has;

	pthread_mutex_lock(&revoked->lock);
	has = fl_map_get(revoked->ids, machine_id) != NULL;
	pthread_mutex_unlock(&revoked->lock);
	return has;
}
