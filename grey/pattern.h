/*
 * grey/pattern.h - the regular expressions of postgrey's whitelist files
 *
 * They are Perl's, written by strangers, and meet names that strangers choose; so there is no backtracking: a
 * pattern is a small program, and all its threads walk through the text side by side.
 *
 * Syntax     Literals, . [ ] [^ ] \d \w \s \D \W \S \b ^ $ ( ) (?: ) | * + ? {n} {n,} {n,m}, and a ? behind a
 *            repetition (lazy or greedy is the same answer here). Case does not matter. References, assertions
 *            that look around, and modifiers are refused with a word: guessing would let the wrong ones pass.
 * Limits     512 octets, 1,000 steps after repetitions are written out, 16 sets, 32 parentheses deep.
 *            Matching costs at most steps x octets.
 * Ownership  A pattern lives in mem, and needs no end.
 */
#ifndef GREY_PATTERN_H
#define GREY_PATTERN_H

#include "base/fail.h"
#include "base/str.h"

struct grey_pattern;

/* What stands between the slashes. NULL with the reason. */
const struct grey_pattern *grey_pattern_parse(struct arena *mem, struct str text, struct fail *fail);
bool grey_pattern_matches(const struct grey_pattern *pattern, struct str text); /* anywhere in it */

#endif
