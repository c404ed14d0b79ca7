/*
 * base/bug.h - a broken promise inside the program
 *
 * bug() is for states that our own code must never reach. It says where, and stops the
 * process: no message is lost, because a client is only told 250 after the backend said so.
 * Input from outside never leads here; failures of the machine are `struct fail`.
 */
#ifndef BASE_BUG_H
#define BASE_BUG_H

#define bug(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void bug_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Ends the process because the machine gave us no memory. Supervisors restart us. */
_Noreturn void out_of_memory(void);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
