package e2e

import "testing"

// wikiQuery is the password forwarding of Dovecot's wiki as it stands there.
const wikiQuery = `password_query = SELECT NULL AS password, 'Y' as nopassword, host, destuser, 'Y' AS proxy FROM proxy WHERE user = '%u'`

const sqlPassdb = `passdb {
  driver = sql
  args = @DIR@/dovecot-sql.conf.ext
}
`

// TestEndToEnd shares two backends, and one proxy where a test needs none of its own.
func TestEndToEnd(t *testing.T) {
	h := newHouse(t)
	f := h.start(t, sqlPassdb, h.wikiFiles(t))
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *house, *front)
	}{
		{"curl", testCurl},
		{"the wiki's SQL examples", testWiki},
		{"TLS to the backend", testBackendTLS},
		{"the backend sees the client's address", testAddress},
		{"mbsync", testMbsync},
		{"tokens", testTokens},
		{"an auth_http service", testAuthHTTP},
		{"a Lua script", testLua},
		{"IDLE", testIdle},
		{"LMTP", testLMTP},
		{"Submission", testSubmission},
		{"ManageSieve", testSieve},
		{"big messages", testBigMessages},
		{"two thousand sessions", testSessions},
		{"reload", testReload},
		{"reload of everything", testReloadOfAll},
		{"upgrade", testUpgrade},
		{"broken upgrade", testBrokenUpgrade},
		{"the end", testTerminate},
		{"hostile input", testHostile},
		{"configuration errors", testConfigurationErrors},
		{"doveadm", testDoveadm},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, h, f) })
	}
}
