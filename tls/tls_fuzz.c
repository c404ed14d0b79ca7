/* Bytes of a stranger into a server's engine, whole and in pieces. */
#include "tls/tls.h"

#include "tests/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct tls_context *context;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char folder[] = "/tmp/tls_fuzz.XXXXXX", cert[64], key[64];
    struct tls_settings settings = {.pair = {cert, key}};
    struct fail fail;

    (void)argc, (void)argv;
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(cert, sizeof(cert), "%s/cert", folder);
    snprintf(key, sizeof(key), "%s/key", folder);
    if (!certificate_make(cert, key, "fuzz.test", 1, NULL) ||
        (context = tls_server_context(&settings, &fail)) == NULL)
        abort();
    unlink(cert);
    unlink(key);
    rmdir(folder);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step = size > 0 && data[0] % 2 ? 1 + data[0] : size + 1;
    struct tls_engine *engine = tls_server_engine(context);
    struct buf plain, wire;

    buf_init(&plain, 4096);
    buf_init(&wire, 256 * 1024);
    for (size_t at = 0; at < size; at += step)
        tls_receive(engine, (const char *)data + at, size - at < step ? size - at : step, &plain, &wire);
    tls_finish(engine, &wire);
    tls_engine_free(&engine);
    buf_fini(&plain);
    buf_fini(&wire);
    return 0;
}
