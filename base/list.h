/*
 * An intrusive, circular, doubly linked list. A node that is in no list is zeroed or points at
 * itself; removing it again is harmless. Nothing is allocated.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/memory.h"

struct fl_list {
	struct fl_list *next, *prev;
};

static inline void fl_list_init(struct fl_list *list)
{
	list->next = list->prev = list;
}

static inline bool fl_list_empty(const struct fl_list *list)
{
	return list->next == list;
}

/* Whether @node is in a list. */
static inline bool fl_list_linked(const struct fl_list *node)
{
	return node->next != NULL && node->next != node;
}

static inline void fl_list_append(struct fl_list *list, struct fl_list *node)
{
	node->prev = list->prev;
	node->next = list;
	list->prev->next = node;
	list->prev = node;
}

static inline void fl_list_remove(struct fl_list *node)
{
	if (node->next == NULL)
		return;
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = node;
}

/* Takes the first node out; NULL when there is none. */
static inline struct fl_list *fl_list_pop(struct fl_list *list)
{
	struct fl_list *node = list->next;

	if (node == list)
		return NULL;
	/* The analyzer does not see that a node which was freed had been removed before. */
	fl_list_remove(node); /* NOLINT(clang-analyzer-unix.Malloc) */
	return node;
}

/* Moves all of @from, in order, behind what is in @to. */
static inline void fl_list_splice(struct fl_list *to, struct fl_list *from)
{
	if (fl_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	fl_list_init(from);
}

#define FL_LIST_ENTRY(node, type, member) FL_CONTAINER(node, type, member)

/* @variable is a pointer to the containing type. The body may not remove it: see _SAFE. */
#define FL_LIST_FOREACH(variable, list, member) \
	for (variable = FL_LIST_ENTRY((list)->next, __typeof__(*variable), member); \
		&(variable)->member != (list); \
		variable = FL_LIST_ENTRY((variable)->member.next, __typeof__(*variable), member))

/* The body may remove or free @variable, and nothing else of the list. */
#define FL_LIST_FOREACH_SAFE(variable, list, member, following) \
	for (variable = FL_LIST_ENTRY((list)->next, __typeof__(*variable), member), \
	    following = FL_LIST_ENTRY((variable)->member.next, __typeof__(*variable), member); \
		&(variable)->member != (list); variable = following, \
	    following = FL_LIST_ENTRY((following)->member.next, __typeof__(*variable), member))
