/*
 * base/json.h - a writer of JSON into a buffer, for log lines and for the verbs' --json
 *
 * Commas are placed by the writer. Text is written as UTF-8: octets that are not become \u00XX
 * (one octet, one character), controls are escaped. There is no reader here: jansson reads.
 *
 * Names      jansson has functions json_object(), json_array() and json_null(). Ours have symbols of their
 *            own: a program's would replace the library's. Include <jansson.h> first where both are used.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

#define json_object json_object_begin
#define json_array  json_array_begin
#define json_null   json_null_value

struct json {
    struct buf *out;
    bool need_comma;
};

void json_init(struct json *j, struct buf *out);
void json_object(struct json *j);     /* { */
void json_object_end(struct json *j); /* } */
void json_array(struct json *j);      /* [ */
void json_array_end(struct json *j);  /* ] */
void json_key(struct json *j, const char *key);

void json_str(struct json *j, struct str s);
void json_z(struct json *j, const char *text); /* NULL becomes null */
void json_int(struct json *j, int64_t value);
void json_bool(struct json *j, bool value);
void json_null(struct json *j);

/* Key and value in one. */
void json_put_z(struct json *j, const char *key, const char *text);
void json_put_str(struct json *j, const char *key, struct str s);
void json_put_int(struct json *j, const char *key, int64_t value);
void json_put_bool(struct json *j, const char *key, bool value);

#endif
