/*
 * tests/certificate.h - certificates and keys for tests, made while they run
 */
#ifndef TESTS_CERTIFICATE_H
#define TESTS_CERTIFICATE_H

#include <stdbool.h>

/* Writes a new P-256 key and a certificate for these names ("a.test,*.b.test"), signed by itself, as PEM. It
 * is valid from two days ago until `days` from now (-1: it has expired). `password`: of the key, or NULL. */
bool certificate_make(const char *cert_path, const char *key_path, const char *names, int days,
                      const char *password);

#endif
