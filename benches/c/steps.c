/* Counts the instructions that a program executes between two times that it stops itself, by
 * stepping through it: whatever instructions the processor has, where an emulator knows some only.
 * Run: steps PROGRAM ARGUMENT...   prints the number, and ends as the program does */
#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static pid_t start(char **line)
{
    pid_t child = fork();
    if (child < 0) {
        fail("fork");
    }
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            fail("ptrace");
        }
        execv(line[0], line);
        fail(line[0]);
    }
    return child;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: steps PROGRAM ARGUMENT...\n");
        return 2;
    }
    pid_t child = start(argv + 1);
    uint64_t steps = 0;
    for (int stops = 0;;) {
        int status;
        if (waitpid(child, &status, 0) != child) {
            fail("waitpid");
        }
        if (WIFEXITED(status)) {
            printf("%" PRIu64 "\n", steps);
            return stops == 2 ? WEXITSTATUS(status) : 1;
        }
        if (WIFSIGNALED(status)) {
            fprintf(stderr, "steps: %s: signal %d\n", argv[1], WTERMSIG(status));
            return 1;
        }
        stops += WSTOPSIG(status) == SIGSTOP;
        steps += stops == 1;
        if (ptrace(stops == 1 ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, NULL) != 0) {
            fail("ptrace");
        }
    }
}
