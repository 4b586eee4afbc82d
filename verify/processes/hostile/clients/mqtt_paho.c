/* What a program on Eclipse Paho's C library sees: `mqtt_paho PORT TOPIC 3|5`. The conversation is
 * that of `with_paho.py` and `mqtt_js.mjs`. */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    char address[64];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%s", argv[1]);
    const int is_five = argv[3][0] == '5';
    MQTTClient client;
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    create.MQTTVersion = is_five ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
    if (MQTTClient_createWithOptions(&client, address, "paho-c", MQTTCLIENT_PERSISTENCE_NONE, NULL, &create))
        return 1;
    int code;
    if (is_five) {
        MQTTClient_connectOptions connect = MQTTClient_connectOptions_initializer5;
        MQTTResponse response = MQTTClient_connect5(client, &connect, NULL, NULL);
        code = response.reasonCode;
        MQTTResponse_free(response);
    } else {
        MQTTClient_connectOptions connect = MQTTClient_connectOptions_initializer;
        connect.MQTTVersion = MQTTVERSION_3_1_1;
        code = MQTTClient_connect(client, &connect);
    }
    printf("connected=%d ", code);
    int acknowledged = 0;
    unsigned char all[256];
    for (int byte = 0; byte < 256; byte++)
        all[byte] = (unsigned char)byte;
    for (int n = -3; n < 100 && code == 0; n++) {
        char text[16];
        snprintf(text, sizeof text, "p%d", n);
        const char *payload = n == -3 ? "zero" : n == -2 ? "one" : n == -1 ? (char *)all : text;
        const int length = n == -1 ? 256 : (int)strlen(payload);
        const int quality = n > -3;
        MQTTClient_deliveryToken token;
        if (is_five) {
            MQTTResponse response =
                MQTTClient_publish5(client, argv[2], length, payload, quality, 0, NULL, &token);
            MQTTResponse_free(response);
        } else {
            MQTTClient_publish(client, argv[2], length, payload, quality, 0, &token);
        }
        acknowledged += quality && MQTTClient_waitForCompletion(client, token, 5000) == MQTTCLIENT_SUCCESS;
    }
    printf("acknowledged=%d ", acknowledged);
    if (is_five) {
        MQTTResponse response = MQTTClient_subscribe5(client, argv[2], 1, NULL, NULL);
        code = response.reasonCode;
        MQTTResponse_free(response);
    } else {
        code = MQTTClient_subscribe(client, argv[2], 1);
    }
    /* Both versions hand out the code of SUBACK: 0x80 and more is a refusal. */
    printf("subscribe=%s\n", code >= 0x80 ? "refused" : "granted");
    MQTTClient_disconnect(client, 1000);
    MQTTClient_destroy(&client);
    return 0;
}
