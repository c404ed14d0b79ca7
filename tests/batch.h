/*
 * tests/batch.h - cases in bulk, for the programs of tests/long
 *
 * Standard input has a JSON object a line. `run` gets each as a jansson json_t * and prints its answer; the object is
 * gone when it returns. What is not JSON ends the program.
 */
#ifndef TESTS_BATCH_H
#define TESTS_BATCH_H

typedef void batch_fn(const void *json);
void batch_run(batch_fn *run);

#endif
