#include "config/config.h"

#include "config/loading.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct snapshot {
    struct config config; /* first: a config is its snapshot */
    atomic_uint refs;
    struct arena *mem;
};

/* ---- from file to values ---- */

bool file_text(struct loading *l, const char *path, size_t most, const struct place *at, const char *key,
               struct str *text_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const char *lead = key != NULL ? str_fmt(l->mem, "%s: %s ", key, path) : "";
    struct buf buf;
    char *room;
    ssize_t got;

    if (fd < 0) {
        fault_at(&l->faults, at, "%scannot be opened: %s", lead, strerror(errno));
        return false;
    }
    buf_init(&buf, most + 1);
    do {
        size_t want = most + 1 - buf.n < 65536 ? most + 1 - buf.n : 65536;

        room = buf_reserve(&buf, want);
        got = want > 0 && room != NULL ? read(fd, room, want) : 0;
        if (got > 0)
            buf_commit(&buf, (size_t)got);
    } while (got > 0 || (got < 0 && errno == EINTR));
    if (got < 0)
        fault_at(&l->faults, at, "%scannot be read: %s", lead, strerror(errno));
    else if (buf.n > most)
        fault_at(&l->faults, at, "%sis larger than %zu bytes", lead, most);
    close(fd);
    *text_out = str_copy(l->mem, buf_str(&buf));
    got = got < 0 || buf.n > most ? -1 : 0;
    buf_fini(&buf);
    return got == 0;
}

const struct entry *loading_entry(const struct loading *l, const char *path)
{
    for (const struct entry *entry = l->entries; entry != NULL; entry = entry->next)
        if (strcmp(entry->path, path) == 0)
            return entry;
    return NULL;
}

const struct place *loading_place(const struct loading *l, const char *path)
{
    static const struct place begin = {.line = 1, .column = 1};
    const struct entry *entry = loading_entry(l, path);

    return entry != NULL ? &entry->node->at : &begin;
}

static struct yaml_node *read_tree(struct loading *l, const char *file)
{
    static const struct place begin = {.line = 1, .column = 1};
    struct str text;

    if (file == NULL)
        return yaml_new(l->mem, YAML_MAP, &begin);
    if (!file_text(l, file, YAML_BYTES_MAX, &begin, NULL, &text))
        return NULL;
    return yaml_read(l->mem, text, &l->faults);
}

bool loading_run(struct loading *l, struct arena *mem, const char *file, struct config *config_out)
{
    *l = (struct loading){.mem = mem, .config = config_out, .complete = file != NULL};
    l->end = &l->entries;
    faults_init(&l->faults, mem, file);
    config_out->file = file != NULL ? str_dup(mem, str_of(file)) : NULL;
    l->root = read_tree(l, file);
    if (l->root == NULL)
        return false;
    environment_apply(l, environ);
    fill_config(l);
    domains_build(l);
    recipients_build(l);
    allow_build(l);
    check_config(l);
    return l->faults.count == 0;
}

/* ---- the snapshot ---- */

const struct config *config_load(const char *file, struct buf *faults_out)
{
    struct arena *mem = arena_new(16 * 1024);
    struct snapshot *snapshot = ARENA_NEW(mem, struct snapshot);
    struct loading loading;

    snapshot->mem = mem;
    atomic_init(&snapshot->refs, 1);
    if (!loading_run(&loading, mem, file, &snapshot->config)) {
        faults_write(&loading.faults, faults_out);
        arena_free(&mem);
        snapshot = NULL;
    }
    return snapshot != NULL ? &snapshot->config : NULL;
}

const char *config_control_socket(struct arena *mem, const char *file)
{
    struct config *config = ARENA_NEW(mem, struct config);
    struct loading loading;

    (void)loading_run(&loading, mem, file, config);
    if (config->admin.socket == NULL)
        config->admin.socket = str_dup(mem, str_of(setting_find(STR("admin.socket"))->standard));
    return config->admin.socket;
}

const struct config *config_ref(const struct config *config)
{
    struct snapshot *snapshot = (struct snapshot *)config;

    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    return config;
}

void config_unref(const struct config **config)
{
    struct snapshot *snapshot = (struct snapshot *)*config;
    struct arena *mem;

    *config = NULL;
    if (snapshot == NULL || atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) != 1)
        return;
    mem = snapshot->mem;
    arena_free(&mem);
}

struct tls_client_settings config_backend_tls(const struct backend_settings *backend)
{
    struct tls_client_settings verify = {
        .ca = backend->tls_ca, .pins = backend->tls_pins, .pins_count = backend->tls_pins_count};

    if (backend->tls == BACKEND_TLS_VERIFY)
        verify.verify = backend->tls_pins_count > 0 ? TLS_VERIFY_PIN : TLS_VERIFY_NAME;
    return verify;
}

const struct backend_settings *config_report_backend(const struct config *config)
{
    for (size_t i = 0; i < config->backends_count; i++)
        if (config->backends[i].protocol == PROTOCOL_SMTP && config->backends[i].endpoint.ip.family != 0 &&
            config->backends[i].pass_client != PASS_PROXY_V2)
            return &config->backends[i];
    return NULL;
}

enum mode config_mode(const struct config *config, enum mode check)
{
    return config->mode == MODE_OBSERVE && check == MODE_ENFORCE ? MODE_OBSERVE : check;
}
