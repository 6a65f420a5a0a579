#include "voc_problem.h"

static const struct {
    voc_str_t name;
    unsigned status;
    voc_str_t detail;
} reasons[VOC_REASONS_N] = {
#define VOC_REASON_ROW(id, name, status, detail)                             \
    {voc_str(name), status, voc_str(detail)},
    VOC_REASONS(VOC_REASON_ROW)
#undef VOC_REASON_ROW
};

voc_problem_t
voc_problem(voc_reason_e reason)
{
    return (voc_problem_t){.reason = reason,
                           .detail = reasons[reason].detail};
}

voc_str_t
voc_reason_name(voc_reason_e reason)
{
    return reasons[reason].name;
}

unsigned
voc_reason_status(voc_reason_e reason)
{
    return reasons[reason].status;
}

voc_str_t
voc_reason_title(voc_reason_e reason)
{
    switch (reasons[reason].status) {
    case 200:
        return (voc_str_t)voc_str("OK");
    case 400:
        return (voc_str_t)voc_str("Bad Request");
    case 403:
        return (voc_str_t)voc_str("Forbidden");
    case 405:
        return (voc_str_t)voc_str("Method Not Allowed");
    case 413:
        return (voc_str_t)voc_str("Content Too Large");
    default:
        return (voc_str_t)voc_str("Service Unavailable");
    }
}
