package lmtp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lmtpclient "dproxy/backend/lmtp"
	"dproxy/route"
	"dproxy/wire"
)

const (
	maxRecipients = 1000 // of a transaction; RFC 5321 section 4.5.3.1.8 asks for 100
	maxBackends   = 64   // of a transaction
)

// transaction is one mail from MAIL to its delivery.
type transaction struct {
	f        *front
	session  string
	from     address
	mail     lmtpclient.Mail
	began    time.Time
	accepted []*recipient
	groups   map[target]*group
	users    []string // that are counted
	backends int      // connections so far, for their session ids
	// ctx lasts as long as the transaction's backend connections may.
	ctx     context.Context
	cancel  context.CancelFunc
	leaving sync.WaitGroup // goodbyes to backends

	asked     bool // a recipient was named
	data      bool // a message is on its way
	message   *spool
	chunks    bool // it comes by BDAT
	badChunks bool // and a part of it failed
}

// target is what recipients share a connection by (Dovecot 2.3).
type target struct {
	protocol, host string
	addr           netip.AddrPort
	source         netip.Addr
	tls            route.TLS
	anyCert        bool
	header         int
}

func targetOf(t *route.Target) target {
	return target{t.Protocol, t.Host, t.Addr, t.Source, t.TLS, t.AnyCert, t.ProxyHeader}
}

// group is a backend connection with its recipients. Once it has failed it answers for all of them.
type group struct {
	up         *lmtpclient.Session
	err        error
	recipients []*recipient   // that it accepted
	wait       time.Duration  // for the answer to the message
	done       chan struct{}  // closed when results are there
	results    []clientResult // of recipients
}

type clientResult = lmtpclient.Result

// recipient is a recipient that its backend accepted.
type recipient struct {
	path    string // as the client named it, without brackets
	to      string // as the backend was told
	orcpt   string
	session string
	group   *group
	index   int // in the group
}

// sessionID is the connection's session id: a trusted client's, or a random one of Dovecot's length.
func (f *front) sessionID() string {
	if f.session == "" {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails
		f.session = base64.RawStdEncoding.EncodeToString(b[:])
	}
	return f.session
}

// mail begins a transaction. It is answered at once; backends hear of it with the first recipient.
func (f *front) mail(args string) error {
	if f.tx != nil {
		return f.reply(503, "5.5.0", "MAIL already given")
	}
	path, ok := cutPrefixFold(args, "FROM:")
	if !ok {
		return f.reply(501, "5.5.4", "Invalid parameters")
	}
	from, rest, fault := parsePath(path, f.leniency())
	if fault == openPath && strings.Contains(path, ">") {
		fault = "Invalid character in localpart" // the sender's path is judged in another order (Dovecot 2.3)
	}
	raw := from.path()
	if fault != "" {
		var broken bool
		if raw, rest, broken = brokenPath(path); !broken {
			return f.reply(501, "5.5.4", "Invalid FROM: "+fault)
		}
		from = address{}
	}
	params, fault := wire.SMTPParams(strings.TrimPrefix(rest, " "))
	if fault != "" {
		return f.reply(501, "5.5.4", "Invalid MAIL parameter: "+fault)
	}
	m := lmtpclient.Mail{From: raw}
	for _, p := range params {
		switch body := strings.ToUpper(p.Value); {
		case p.Name != "BODY":
			return f.reply(555, "5.5.4", "Unsupported parameters")
		case body != "7BIT" && body != "8BITMIME":
			return f.reply(555, "5.5.4", "Unsupported mail BODY type")
		default:
			m.Body = body
		}
	}
	f.transactions++
	tx := &transaction{f: f, session: f.sessionID(), from: from, mail: m, began: time.Now(), groups: map[target]*group{}}
	if f.transactions > 1 {
		tx.session += ":T" + strconv.Itoa(f.transactions)
	}
	tx.ctx, tx.cancel = context.WithCancel(f.c.Context())
	f.tx = tx
	return f.reply(250, "2.1.0", "OK")
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func (f *front) leniency() leniency {
	words := strings.FieldsFunc(f.c.Settings().LMTPClientWorkarounds, func(r rune) bool { return r == ' ' || r == ',' })
	return leniency{space: slices.Contains(words, "whitespace-before-path"), bare: slices.Contains(words, "mailbox-for-path")}
}

// drop ends a transaction without a message: with a goodbye to its backends, or without one when the
// message is not whole.
func (t *transaction) drop(polite bool) {
	for _, g := range t.groups {
		switch {
		case g.up == nil:
		case polite && g.err == nil:
			t.leave(g.up)
		case polite:
			g.up.Quit() // of a broken connection: it does not wait
		default:
			g.up.Abort()
		}
	}
	t.end()
}

// leave says goodbye to a backend while the client goes on.
func (t *transaction) leave(up *lmtpclient.Session) {
	t.leaving.Add(1)
	t.f.c.Go(func() {
		defer t.leaving.Done()
		up.Quit()
	})
}

// end frees what the transaction holds, its context once the backends have been left.
func (t *transaction) end() {
	if t.message != nil {
		t.message.close()
		t.message = nil
	}
	for _, u := range t.users {
		t.f.users().leave(u)
	}
	t.f.c.Go(func() {
		t.leaving.Wait()
		t.cancel()
	})
}
