package passdb

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Peer is what the listener and the login front know of a connection. Forwarded values (IMAP ID,
// XCLIENT, PROXY protocol) replace Local and Remote; the Real ones stay the socket's.
type Peer struct {
	Service               string // imap, pop3, submission, sieve, lmtp
	Session               string
	Local, Remote         netip.AddrPort
	RealLocal, RealRemote netip.AddrPort
	LocalName             string // TLS SNI
	Secured               string // "", "secured" or "TLS", as %c
	ClientID              string // IMAP ID list, as %{client_id}
	CertName              string // user name from a verified client certificate
	CertValid             bool
	Forward               []Field // forward_* fields from a trusted peer
	// Trace hears of the steps of a login that somebody wants explained, without secrets. It is nil for all others.
	Trace func(text string)
	// TLS is the state of the client's connection, nil without TLS of our own. CertAsked: it had to show a certificate.
	TLS       *tls.ConnectionState
	CertAsked bool
	// ServerCert is the certificate that the client was shown, nil when it is not known.
	ServerCert *x509.Certificate
	Attempt    int // 1 for the first login on a connection; 0: not known
}

// Request is the question to a passdb.
type Request struct {
	Peer
	Mech       string
	User       string // current name: normalised, perhaps changed by an earlier passdb
	OrigUser   string // as the client sent it, after the separator was split off
	AuthUser   string // name that authenticates when it is not User (master logins)
	MasterUser string // set once a master passdb accepted
	LoginUser  string // requested login name while a master passdb is asked
	Password   Secret // the client's; empty in lookups
	// CredentialsScheme is set when the mechanism needs the stored password in this scheme.
	CredentialsScheme string
	Fields            *Fields // extra fields so far, for %{passdb:name}
	Passdb            int     // number of the passdb that is asked, for %!
	// SkipPassword: an earlier passdb has accepted the user. SeenUnknown and SeenFailure: one did
	// not know the user, one did not answer.
	SkipPassword, SeenUnknown, SeenFailure bool
	// Log writes a line about this question, with the passdb's and the user's name before it. nil:
	// nobody listens. It may be called from any goroutine.
	Log func(level Level, text string)
}

// Say writes a line about the question to the log.
func (r *Request) Say(level Level, text string) {
	if r.Log != nil {
		r.Log(level, text)
	}
}

// Var answers a %variable of the auth process by its long name (Dovecot 2.3 auth variables).
func (r *Request) Var(name string) (string, bool) {
	switch name {
	case "user":
		return r.User, true
	case "username":
		return local(r.User), true
	case "domain":
		return domain(r.User), true
	case "domain_first":
		d, _, _ := strings.Cut(domain(r.User), "@")
		return d, true
	case "domain_last":
		if i := strings.LastIndexByte(r.User, '@'); i >= 0 {
			return r.User[i+1:], true
		}
		return "", true
	case "service", "protocol":
		return r.Service, true
	case "lip", "local_ip":
		return ip(r.Local), true
	case "rip", "remote_ip":
		return ip(r.Remote), true
	case "lport", "local_port":
		return port(r.Local), true
	case "rport", "remote_port":
		return port(r.Remote), true
	case "real_lip", "real_local_ip":
		return ip(r.RealLocal), true
	case "real_rip", "real_remote_ip":
		return ip(r.RealRemote), true
	case "real_lport", "real_local_port":
		return port(r.RealLocal), true
	case "real_rport", "real_remote_port":
		return port(r.RealRemote), true
	case "pid", "client_pid":
		return strconv.Itoa(os.Getpid()), true
	case "session_pid":
		return "", true
	case "home":
		return "", true
	case "session":
		return r.Session, true
	case "mech", "mechanism":
		return r.Mech, true
	case "secured":
		return r.Secured, true
	case "id":
		return strconv.Itoa(r.Passdb), true
	case "cert":
		if r.CertValid {
			return "valid", true
		}
		return "", true
	case "password":
		return string(r.Password), true
	case "local_name":
		return r.LocalName, true
	case "client_id":
		return r.ClientID, true
	case "orig_user", "original_user":
		return r.OrigUser, true
	case "orig_username", "original_username":
		return local(r.OrigUser), true
	case "orig_domain", "original_domain":
		return domain(r.OrigUser), true
	case "auth_user":
		return r.authUser(), true
	case "auth_username":
		return local(r.authUser()), true
	case "auth_domain":
		return domain(r.authUser()), true
	case "master_user":
		return r.MasterUser, true
	case "login_user":
		return r.LoginUser, true
	case "login_username":
		return local(r.LoginUser), true
	case "login_domain":
		return domain(r.LoginUser), true
	}
	if f, ok := strings.CutPrefix(name, "passdb:"); ok {
		if r.Fields == nil {
			return "", false
		}
		return r.Fields.Get(f)
	}
	return "", false
}

func (r *Request) authUser() string {
	if r.AuthUser != "" {
		return r.AuthUser
	}
	return r.OrigUser
}

func local(user string) string  { l, _, _ := strings.Cut(user, "@"); return l }
func domain(user string) string { _, d, _ := strings.Cut(user, "@"); return d }

func ip(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().Unmap().String()
}

// port is "0" when it is not known, as in Dovecot.
func port(a netip.AddrPort) string {
	return strconv.Itoa(int(a.Port()))
}

// Masked is Var for the eyes of people: the client's password is hidden.
func (r *Request) Masked(name string) (string, bool) {
	if name == "password" {
		return "<hidden>", true
	}
	return r.Var(name)
}
