/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Events, verdicts and causes: one list each, from which enums and strings are made. The strings
 * are part of the interface (logs, tests, corpus) and the numbers are what a hypercall returns.
 */
#ifndef MODEL_NAMES_H
#define MODEL_NAMES_H

#define GUARD_EVENTS(X)                                                                            \
	X(ENTER_CALL, "ENTER-CALL")                                                                \
	X(LEAVE_RETURN, "LEAVE-RETURN")                                                            \
	X(LEAVE_CALL, "LEAVE-CALL")                                                                \
	X(ENTER_RETURN, "ENTER-RETURN")                                                            \
	X(DEPART, "DEPART")                                                                        \
	X(RESUME, "RESUME")                                                                        \
	X(TOUCH, "TOUCH")                                                                          \
	X(ANNOUNCE, "ANNOUNCE")                                                                    \
	X(WITHDRAW, "WITHDRAW")                                                                    \
	X(REGISTER, "REGISTER")                                                                    \
	X(UNREGISTER, "UNREGISTER")                                                                \
	X(GRANT, "GRANT")                                                                          \
	X(WITHHOLD, "WITHHOLD")                                                                    \
	X(VERIFY, "VERIFY")                                                                        \
	X(RESET, "RESET")

#define GUARD_VERDICTS(X)                                                                          \
	X(OK, "ok")                                                                                \
	X(BAD_SITE, "bad-site")                                                                    \
	X(UNANNOUNCED, "unannounced")                                                              \
	X(QUARANTINED, "quarantined")                                                              \
	X(BAD_MODE, "bad-mode")                                                                    \
	X(BAD_FLAGS, "bad-flags")                                                                  \
	X(BAD_MAPPING, "bad-mapping")                                                              \
	X(BAD_STACK, "bad-stack")                                                                  \
	X(BAD_RETURN, "bad-return")                                                                \
	X(NO_ROOM, "no-room")                                                                      \
	X(WITHHELD, "withheld")                                                                    \
	X(RAISE_FAILED, "raise-failed")                                                            \
	X(NO_RECORD, "no-record")                                                                  \
	X(STACK_CHANGED, "stack-changed")                                                          \
	X(REGISTERS_CHANGED, "registers-changed")                                                  \
	X(NOT_PRIVILEGED, "not-privileged")                                                        \
	X(STACK_TOO_DEEP, "stack-too-deep")                                                        \
	X(WILD_EXIT, "wild-exit")                                                                  \
	X(LOWER_FAILED, "lower-failed")                                                            \
	X(UNKNOWN_MODULE, "unknown-module")                                                        \
	X(BAD_TEXT, "bad-text")                                                                    \
	X(OVERLAP, "overlap")                                                                      \
	X(BUSY, "busy")                                                                            \
	X(AGAIN, "again")                                                                          \
	X(BAD_MANIFEST, "bad-manifest")                                                            \
	X(NOT_BOUND, "not-bound")

/* The parameter is not X: that is a cause of its own. */
#define GUARD_CAUSES(DO)                                                                           \
	DO(X, "x")                                                                                 \
	DO(FETCH, "fetch")                                                                         \
	DO(IRQ, "irq")                                                                             \
	DO(NMI, "nmi")                                                                             \
	DO(EXCEPTION, "exception")                                                                 \
	DO(KICK, "kick")                                                                           \
	DO(OTHER, "other") /* SMI, INIT */                                                         \
	DO(ACCESS, "access")                                                                       \
	DO(ADMIN, "admin")

#define GUARD_ENUM_EVENT(id, string) GUARD_##id,
#define GUARD_ENUM_VERDICT(id, string) GUARD_V_##id,
#define GUARD_ENUM_CAUSE(id, string) GUARD_CAUSE_##id,
enum guard_event_name { GUARD_EVENTS(GUARD_ENUM_EVENT) GUARD_NEVENTS };
enum guard_verdict { GUARD_VERDICTS(GUARD_ENUM_VERDICT) GUARD_NVERDICTS };
enum guard_cause { GUARD_CAUSES(GUARD_ENUM_CAUSE) GUARD_NCAUSES };

/* Names as the log prints them; "?" if out of range. */
const char *guard_event_string(enum guard_event_name e);
const char *guard_verdict_string(enum guard_verdict v);
const char *guard_cause_string(enum guard_cause c);

#endif
