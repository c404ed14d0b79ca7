/* Whatever a key record says, it is a key or a fault, and a key can be used. */
#include "auth/dkim.h"
#include "auth/dkim_key.h"
#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t hash[DKIM_HASH_BYTES], signature[256];
    struct dkim_key *key = dkim_key_new(str_make((const char *)data, size));

    if (key->fault == NULL &&
        (key->bits == 0 || (key->bits <= 4096 && dkim_key_verify(key, hash, signature, 256))))
        bug("a key of %u bits that verifies anything", key->bits);
    dkim_key_free(&key);
    return 0;
}
