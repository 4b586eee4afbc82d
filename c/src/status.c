/* What the answers mean. Contracts: aqueduct/status.h. */
#include "compiler.h"

#include "aqueduct/status.h"

const char *aqd_strerror(aqd_status status)
{
    switch (status) {
    case AQD_OK: return "no error";
    case AQD_EMPTY: return "no record now";
    case AQD_CLOSED: return "the ring was closed";
    case AQD_LOST: return "the listener died without closing the ring";
    case AQD_INTERRUPTED: return "interrupted";
    case AQD_EPOCH_CHANGED: return "reconnected to another ring";
    case AQD_AHEAD: return "the sequence number sought is not published yet";
    case AQD_ERR_HEADER: return "a damaged stretch was skipped";
    case AQD_ERR_PAYLOAD: return "a record with a damaged payload was skipped";
    case AQD_ERR_GAP: return "records are missing: the sequence numbers jump";
    case AQD_ERR_SPACE: return "the record is larger than the buffer";
    case AQD_ERR_TAIL: return "the ring has moved on beyond this reader";
    case AQD_ERR_OVERRUN: return "records were overwritten before they were read";
    case AQD_ERR_GONE: return "the sequence number sought is no longer there";
    case AQD_ERR_EPOCH: return "the sequence number sought belongs to another ring";
    case AQD_ERR_ARGUMENT: return "an argument is out of range";
    case AQD_ERR_MAGIC: return "not a ring";
    case AQD_ERR_VERSION: return "another major version of the ABI";
    case AQD_ERR_CHECKSUM: return "the ring header is damaged";
    case AQD_ERR_GEOMETRY: return "the ring header makes no sense";
    case AQD_ERR_SIZE: return "a segment is too short";
    case AQD_ERR_CURSOR: return "the cursor segment is damaged or belongs to another ring";
    case AQD_ERR_SYSTEM: return "a system call failed";
    case AQD_ERR_TIMEOUT: return "the listener did not answer in time";
    case AQD_ERR_HANGUP: return "the listener hung up during the handshake";
    case AQD_ERR_PROTOCOL: return "the listener's answer is not a welcome with its descriptors";
    case AQD_ERR_REFUSED: return "the listener refused";
    case AQD_ERR_NOT_SEALED: return "a segment is not sealed against shrinking";
    case AQD_ERR_MEMORY: return "out of memory";
    case AQD_ERR_MODE: return "not possible for an observer";
    }
    return "unknown status";
}

/*@ assigns \nothing; exits \false; */
int aqd_is_end(aqd_status status)
{
    return status == AQD_CLOSED || status == AQD_LOST || status == AQD_ERR_TAIL || status >= AQD_ERR_ARGUMENT;
}

/*@ assigns \nothing; exits \false; */
int aqd_is_damage(aqd_status status)
{
    return status == AQD_ERR_HEADER || status == AQD_ERR_PAYLOAD || status == AQD_ERR_GAP || status == AQD_ERR_OVERRUN;
}

const char *aqd_version(void) { return AQD_VERSION; }

uint32_t aqd_version_number(void) { return AQD_VERSION_NUMBER; }
