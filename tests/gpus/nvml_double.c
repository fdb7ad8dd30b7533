/* A stand-in for libnvidia-ml.so.1: NVML's functions, answered from a text file instead of a driver.
 *
 * The file is named by GPUCLASS_NVML_DOUBLE and read again at every call, so a test changes the machine while a program
 * looks at it. One word and its values a line; a line belongs to the gpu or instance above it:
 *
 *   init 9                    nvmlInit fails with this code
 *   driver 580.95.05          driver version
 *   gpu GPU-1 Name of it      starts a GPU
 *   instance MIG-1 Name       starts a MIG instance of the GPU above
 *   memory 1000 200           bytes in all, bytes in use
 *   util 37                   per cent
 *   lost 15                   every question about this one fails with this code
 *   mig 1                     MIG is on
 *   compute 3                 compute mode; 3 is EXCLUSIVE_PROCESS
 *   odd 999                   questions about its memory's health fail with this code
 *   ecc 2                     uncorrected errors since the driver was loaded
 *   remap 0 1                 row remapping: pending, failed
 *   retired 1                 pages wait for a reboot to be retired
 *   process 4711 300          a process computes on it, with so many bytes (-1: not known)
 *   silent 4                  its processes cannot be asked for: this code
 *   sm 4711 37                per cent that a process computed in the last second
 *   hang 1                    every call hangs for ever, as with a sick driver
 *   xid 79                    an event; those that stand there when the event set is made are past
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LIMIT 64
typedef unsigned int uint;
typedef unsigned long long ulong64;
typedef struct Unit {
    char uuid[96], name[96];
    int instance, parent, lost, mig, compute, odd, util, remap_pending, remap_failed, retired, processes, silent, samples;
    ulong64 memory, used, ecc;
    struct { uint pid; ulong64 used; } process[LIMIT];
    struct { uint pid, sm; } sample[LIMIT];
} Unit;
typedef struct { uint pid; ulong64 used; uint gpu_instance, compute_instance; } ProcessInfo;
typedef struct { uint pid; ulong64 time; uint sm, memory, encoder, decoder; } Sample;
typedef struct { void *device; ulong64 type, data; uint gpu_instance, compute_instance; } EventData;

static __thread struct { int init, units, events; char driver[80]; Unit unit[LIMIT]; struct { int unit; ulong64 xid; } event[LIMIT]; } machine;

static void look(void) {
    const char *path = getenv("GPUCLASS_NVML_DOUBLE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256], word[32], rest[200];
    memset(&machine, 0, sizeof machine);
    if (!file) { machine.init = 9; return; }
    int gpu = -1;
    Unit *unit = NULL;
    while (fgets(line, sizeof line, file)) {
        rest[0] = 0;
        if (sscanf(line, "%31s %199[^\n]", word, rest) < 1) continue;
        if (!strcmp(word, "init")) machine.init = atoi(rest);
        else if (!strcmp(word, "hang")) for (;;) sleep(1);
        else if (!strcmp(word, "driver")) strcpy(machine.driver, rest);
        else if ((!strcmp(word, "gpu") || !strcmp(word, "instance")) && machine.units < LIMIT) {
            unit = &machine.unit[machine.units++];
            sscanf(rest, "%95s %95[^\n]", unit->uuid, unit->name);
            unit->instance = word[0] == 'i';
            if (!unit->instance) gpu = machine.units - 1;
            unit->parent = gpu;
        } else if (!unit) continue;
        else if (!strcmp(word, "memory")) sscanf(rest, "%llu %llu", &unit->memory, &unit->used);
        else if (!strcmp(word, "util")) unit->util = atoi(rest);
        else if (!strcmp(word, "lost")) unit->lost = atoi(rest);
        else if (!strcmp(word, "mig")) unit->mig = atoi(rest);
        else if (!strcmp(word, "compute")) unit->compute = atoi(rest);
        else if (!strcmp(word, "odd")) unit->odd = atoi(rest);
        else if (!strcmp(word, "ecc")) unit->ecc = strtoull(rest, NULL, 10);
        else if (!strcmp(word, "remap")) sscanf(rest, "%d %d", &unit->remap_pending, &unit->remap_failed);
        else if (!strcmp(word, "retired")) unit->retired = atoi(rest);
        else if (!strcmp(word, "process") && unit->processes < LIMIT) {
            sscanf(rest, "%u %lld", &unit->process[unit->processes].pid, (long long *)&unit->process[unit->processes].used);
            unit->processes++;
        } else if (!strcmp(word, "silent")) unit->silent = atoi(rest);
        else if (!strcmp(word, "sm") && unit->samples < LIMIT) {
            sscanf(rest, "%u %u", &unit->sample[unit->samples].pid, &unit->sample[unit->samples].sm);
            unit->samples++;
        } else if (!strcmp(word, "xid") && machine.events < LIMIT) {
            machine.event[machine.events].unit = (int)(unit - machine.unit);
            machine.event[machine.events++].xid = strtoull(rest, NULL, 10);
        }
    }
    fclose(file);
}

/* A handle is the unit's number plus one. */
static Unit *of(void *handle) {
    look();
    long number = (long)handle - 1;
    return number >= 0 && number < machine.units ? &machine.unit[number] : NULL;
}
static void *handle_of(int number) { return (void *)(long)(number + 1); }

/* The nth GPU (parent -1) or the nth instance of a GPU. */
static int find(int nth, int parent) {
    for (int number = 0; number < machine.units; number++) {
        Unit *unit = &machine.unit[number];
        if ((parent < 0 ? !unit->instance : unit->instance && unit->parent == parent) && nth-- == 0) return number;
    }
    return -1;
}

#define UNIT(handle) Unit *unit = of(handle); if (!unit) return 2; if (unit->lost) return unit->lost

int nvmlInitWithFlags(uint flags) { (void)flags; look(); return machine.init; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the double"; }
int nvmlSystemGetDriverVersion(char *text, uint size) { look(); snprintf(text, size, "%s", machine.driver); return 0; }

int nvmlDeviceGetCount_v2(uint *count) {
    look();
    for (*count = 0; find((int)*count, -1) >= 0; ++*count) {}
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(uint index, void **handle) {
    look();
    int number = find((int)index, -1);
    if (number < 0) return 2;
    *handle = handle_of(number);
    return machine.unit[number].lost;
}
int nvmlDeviceGetUUID(void *handle, char *text, uint size) { UNIT(handle); snprintf(text, size, "%s", unit->uuid); return 0; }
int nvmlDeviceGetName(void *handle, char *text, uint size) { UNIT(handle); snprintf(text, size, "%s", unit->name); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, ulong64 *total_free_used) {
    UNIT(handle);
    total_free_used[0] = unit->memory;
    total_free_used[1] = unit->memory - unit->used;
    total_free_used[2] = unit->used;
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *handle, uint *gpu_memory) {
    UNIT(handle);
    if (unit->instance || unit->mig) return 3; /* as the driver does under MIG */
    gpu_memory[0] = (uint)unit->util;
    gpu_memory[1] = 0;
    return 0;
}
int nvmlDeviceGetMigMode(void *handle, uint *now, uint *pending) { UNIT(handle); *now = *pending = (uint)unit->mig; return 0; }
int nvmlDeviceGetComputeMode(void *handle, uint *mode) { UNIT(handle); *mode = (uint)unit->compute; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(void *handle, uint *count) { UNIT(handle); *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, uint index, void **instance) {
    UNIT(handle);
    int number = find((int)index, (int)(unit - machine.unit));
    if (number < 0) return 6;
    *instance = handle_of(number);
    return 0;
}
int nvmlDeviceGetMemoryErrorCounter(void *handle, int type, int counter, int location, ulong64 *count) {
    (void)counter, (void)location;
    UNIT(handle);
    if (unit->odd) return unit->odd;
    *count = type == 1 ? unit->ecc : 0;
    return 0;
}
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, ulong64 *count) {
    return nvmlDeviceGetMemoryErrorCounter(handle, type, counter, 0, count);
}
int nvmlDeviceGetRemappedRows(void *handle, uint *corrected, uint *uncorrected, uint *pending, uint *failed) {
    UNIT(handle);
    if (unit->odd) return unit->odd;
    *corrected = *uncorrected = 0;
    *pending = (uint)unit->remap_pending;
    *failed = (uint)unit->remap_failed;
    return 0;
}
int nvmlDeviceGetRetiredPagesPendingStatus(void *handle, uint *pending) { UNIT(handle); *pending = (uint)unit->retired; return unit->odd; }

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, uint *count, ProcessInfo *info) {
    UNIT(handle);
    if (unit->silent) return unit->silent;
    uint room = *count;
    *count = (uint)unit->processes;
    if (room < *count) return 7;
    for (uint number = 0; number < *count; number++)
        info[number] = (ProcessInfo){unit->process[number].pid, unit->process[number].used, ~0u, ~0u};
    return 0;
}

/* The time of a sample is now, in microseconds: there is a new one at each question. */
int nvmlDeviceGetProcessUtilization(void *handle, Sample *samples, uint *count, ulong64 since) {
    UNIT(handle);
    if (unit->instance || unit->mig) return 3;
    uint room = *count;
    *count = (uint)unit->samples;
    if (!*count) return 6;
    if (room < *count || !samples) return 7;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    ulong64 time = (ulong64)now.tv_sec * 1000000 + (ulong64)now.tv_nsec / 1000;
    for (uint number = 0; number < *count; number++)
        samples[number] = (Sample){unit->sample[number].pid, time > since ? time : since + 1, unit->sample[number].sm, 0, 0, 0};
    return 0;
}

/* An event set is a counter of the events that it has told. */
int nvmlEventSetCreate(void **set) {
    look();
    int *told = malloc(sizeof *told);
    *told = machine.events;
    *set = told;
    return 0;
}
int nvmlEventSetFree(void *set) { free(set); return 0; }
int nvmlDeviceGetSupportedEventTypes(void *handle, ulong64 *types) { UNIT(handle); *types = 8; return 0; }
int nvmlDeviceRegisterEvents(void *handle, ulong64 types, void *set) { (void)types, (void)set; UNIT(handle); return 0; }
int nvmlEventSetWait_v2(void *set, EventData *data, uint timeout_ms) {
    int *told = set;
    for (uint waited = 0;; waited += 10) {
        look();
        if (*told < machine.events) {
            *data = (EventData){handle_of(machine.event[*told].unit), 8, machine.event[*told].xid, 0, 0};
            ++*told;
            return 0;
        }
        if (waited >= timeout_ms) return 10;
        usleep(10000);
    }
}
