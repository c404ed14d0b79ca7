/* Any text is a table or faults with their lines; a list of hosts answers for any client. The first byte says
 * where the text ends and a pattern begins. */
#include "auth/dkim_hosts.h"
#include "auth/dkim_rows.h"
#include "auth/dkim_table.h"
#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    struct str text = size > 0 ? str_make((const char *)data + 1, size - 1) : STR("");
    struct str pattern = str_from(text, size > 0 ? data[0] : 0);
    const struct dkim_hosts *hosts;
    struct dkim_rows rows;
    struct buf faults;
    struct ip ip = {.family = 4, .b = {192, 0, 2, 1}};

    buf_init(&faults, 1 << 20);
    dkim_rows_parse(mem, "F", text, &rows, &faults);
    for (size_t i = 0; i < rows.count; i++)
        if (rows.rows[i].key.n == 0 || str_has(rows.rows[i].value, '\n') || str_has(rows.rows[i].value, '#'))
            bug("a row of line %u is not one", rows.rows[i].line);
    hosts = dkim_hosts_parse(mem, "F", text, &faults);
    if (hosts != NULL)
        dkim_hosts_has(hosts, &ip, "mail.example.org");
    else if (faults.n == 0)
        bug("no list and no fault");
    if (!str_has(pattern, '*') && dkim_table_matches(pattern, text) != str_same(pattern, text))
        bug("without a star only the text itself matches");
    if (!dkim_table_matches(STR("*"), text))
        bug("a star matches everything");
    buf_fini(&faults);
    arena_free(&mem);
    return 0;
}
