/* What a program on hiredis sees: `resp_hiredis PORT RING`. The conversation is that of
 * `resp_node.mjs`, `with_redis.py` and `redigo.go`; `tables/protocol_clients.py` says what of it is
 * right. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static redisReply *expect(redisReply *reply) {
    if (reply == NULL) {
        puts("disconnected");
        exit(1);
    }
    return reply;
}

/* Prints the number behind the dash of an id, or an integer, or that it is refused. */
static void say(redisReply *reply) {
    if (reply->type == REDIS_REPLY_ERROR)
        printf("refused ");
    else if (reply->type == REDIS_REPLY_INTEGER)
        printf("%lld ", reply->integer);
    else
        printf("%s ", strrchr(reply->str, '-') + 1);
    freeReplyObject(reply);
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    const char *ring = argv[2];
    redisContext *redis = redisConnect("127.0.0.1", atoi(argv[1]));
    if (redis == NULL || redis->err) {
        puts(redis ? redis->errstr : "out of memory");
        return 1;
    }
    unsigned char all[256], large[2000] = {0};
    for (int byte = 0; byte < 256; byte++)
        all[byte] = (unsigned char)byte;
    say(expect(redisCommand(redis, "XADD %s * data one", ring)));
    say(expect(redisCommand(redis, "XADD %s * data %b type 7", ring, all, sizeof all)));
    say(expect(redisCommand(redis, "RPUSH %s a b c", ring)));
    say(expect(redisCommand(redis, "PUBLISH %s pub", ring)));
    for (int n = 0; n < 100; n++)
        redisAppendCommand(redis, "XADD %s * data p%d", ring, n);
    int ids = 0;
    for (int n = 0; n < 100; n++) {
        void *reply = NULL;
        if (redisGetReply(redis, &reply) != REDIS_OK)
            break;
        ids += ((redisReply *)reply)->type == REDIS_REPLY_STRING;
        freeReplyObject(reply);
    }
    printf("%d ", ids);
    say(expect(redisCommand(redis, "XADD %s * data %b", ring, large, sizeof large)));
    say(expect(redisCommand(redis, "XLEN %s", ring)));
    redisFree(redis);
    return 0;
}
