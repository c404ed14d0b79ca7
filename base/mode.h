/*
 * base/mode.h - the words that every check's settings share
 */
#ifndef BASE_MODE_H
#define BASE_MODE_H

/* MODE_OBSERVE does everything but act, and counts what it would have done. */
enum mode { MODE_OFF, MODE_OBSERVE, MODE_ENFORCE };

/* What an answer of a check leads to: a mark in the header, 4xx or 5xx. */
enum on_event { ON_MARK, ON_DEFER, ON_REJECT };

#endif
