package auth

import (
	"context"
	"strconv"
	"time"

	"dproxy/auth/policy"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/fiber"
	"dproxy/passdb"
)

const (
	// maxTarpit bounds what a policy server can make a client wait.
	maxTarpit = 5 * time.Minute
	// maxReports bounds the reports on their way to the policy server.
	maxReports = 1000
)

// errPolicy is a policy server that does not answer while it has to.
const errPolicy = fault("Authentication failure because the policy server does not answer (auth_policy_reject_on_fail)")

// guard is the policy server and what has been said to it.
type guard struct {
	*policy.Server
	reports chan struct{} // slots
}

func newGuard(s *conf.Settings) (*guard, error) {
	server, err := policy.New(s)
	if server == nil || err != nil {
		return nil, err
	}
	return &guard{server, make(chan struct{}, maxReports)}, nil
}

// login is what the policy server hears of the attempt.
func (t *attempt) login() policy.Login {
	user := t.req.User
	if t.req.LoginUser != "" {
		user = t.req.LoginUser
	}
	return policy.Login{User: user, Password: string(t.password), TLS: t.req.Secured == "TLS", Var: t.req.Var}
}

// allowed asks the policy server whether the login may go on. Any status but OK ends it. After a success
// the server may refuse but not delay.
func (t *attempt) allowed(ctx context.Context, success bool) passdb.Status {
	s := t.chain.settings
	if t.a.guard == nil || success && !s.AuthPolicyCheckAfterAuth || !success && !s.AuthPolicyCheckBeforeAuth {
		return passdb.OK
	}
	fiber.Blocking(ctx)
	answer, err := t.a.guard.Check(ctx, t.login())
	if err != nil {
		if ctx.Err() != nil {
			return passdb.InternalFailure // nobody waits any more
		}
		t.line("policy", event.Error, event.Clean(err.Error(), 512))
		if s.AuthPolicyRejectOnFail && !s.AuthPolicyLogOnly {
			t.line("policy", event.Error, errPolicy.Error())
			return passdb.InternalFailure
		}
		return passdb.OK
	}
	return t.obey(ctx, answer, success)
}

// obey does what the policy server says.
func (t *attempt) obey(ctx context.Context, a policy.Answer, success bool) passdb.Status {
	logOnly := t.chain.settings.AuthPolicyLogOnly
	switch {
	case a.Status < 0:
		text := "Authentication failure due to policy server refusal"
		if a.Message != "" {
			text += ": " + event.Clean(a.Message, 256)
		}
		if !logOnly {
			t.line("policy", event.Info, text)
		}
		t.line("policy", event.Info, "Policy check action is drop connection")
		if logOnly {
			return passdb.OK
		}
		t.refusedByPolicy, t.success = true, false
		if a.Message != "" {
			t.fields.Set("reason", a.Message)
		}
		return passdb.Mismatch
	case a.Status > 0:
		wait := min(time.Duration(a.Status)*time.Second, maxTarpit)
		t.line("policy", event.Info, "Policy check action is tarpit "+strconv.Itoa(a.Status)+" second(s)")
		if !success && !logOnly && !t.noPenalty {
			sleep(ctx, wait)
		}
	default:
		t.debug("Policy check action is continue")
	}
	return passdb.OK
}

// told reports the end of the login to the policy server, beside the answer to the client. A temporary failure
// says nothing about whoever logs in and is not reported.
func (t *attempt) told(ctx context.Context, r *Reply) {
	g := t.a.guard
	if g == nil || !t.chain.settings.AuthPolicyReportAfterAuth || r.Code == CodeTempFail {
		return
	}
	select {
	case g.reports <- struct{}{}:
	default:
		t.a.warnOnce("policy reports", "The policy server is slow: reports are dropped while 1000 are on their way")
		return
	}
	ctx, end, err := t.a.detach(ctx)
	if err != nil {
		<-g.reports
		return
	}
	said, ok, refused := t.login(), r.OK, t.refusedByPolicy
	req := t.req
	fields := t.fields.Clone()
	req.Fields = &fields
	said.Var = req.Var
	go t.report(ctx, end, func() error { return g.Report(ctx, said, ok, refused) })
}

func (t *attempt) report(ctx context.Context, end func(), send func() error) {
	defer end()
	defer func() { <-t.a.guard.reports }()
	if err := send(); err != nil && ctx.Err() == nil {
		t.line("policy", event.Error, event.Clean(err.Error(), 512))
	}
}
