package e2e

import (
	"fmt"
	"strings"
	"testing"
)

const luaPassdb = `passdb {
  driver = lua
  args = file=@DIR@/route.lua blocking=yes
}
`

// luaScript routes by a table of its own and leaves the password to the backend: the hosts of alice and of the others.
const luaScript = `local hosts = {["alice@example.org"] = "%s"}

function auth_passdb_lookup(req)
  if req.domain ~= "example.org" then
    return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, "no such domain"
  end
  if req.username == "broken" then
    error("no table for " .. req.user)
  end
  local host = hosts[req.user] or "%s"
  req:log_info("goes to " .. host)
  return dovecot.auth.PASSDB_RESULT_OK, {nopassword = "y", proxy = "y", host = host}
end
`

// testLua logs in where a script says, to real backends, and elsewhere after a reload.
func testLua(t *testing.T, h *house, _ *front) {
	f := h.start(t, "auth_verbose = yes\n"+luaPassdb, map[string]string{"route.lua": fmt.Sprintf(luaScript, h.one.IP, h.two.IP)})
	goesTo := func(user, server string) {
		t.Helper()
		c, err := loginIMAP(f.addr("imap"), "", nil, user)
		if err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		c.nc.Close()
		eventually(t, user+" is logged as proxied to "+server, func() bool {
			return strings.Contains(f.read(t, "log"), "imap-login: Info: proxy("+user+","+server+":143): Started proxying to <"+server+">")
		})
	}
	goesTo("alice@example.org", h.one.IP)
	goesTo("bob@example.org", h.two.IP)
	for user, want := range map[string]string{"broken@example.org": "[UNAVAILABLE]", "alice@example.net": "[AUTHENTICATIONFAILED]"} {
		if _, err := loginIMAP(f.addr("imap"), "", nil, user); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", user, err, want)
		}
	}
	eventually(t, "the log has what the script says", func() bool {
		log := f.read(t, "log")
		return strings.Contains(log, "db-lua: goes to "+h.two.IP) && strings.Contains(log, "no table for broken@example.org")
	})
	if h.reference {
		return
	}
	f.write(t, "route.lua", fmt.Sprintf(luaScript, h.two.IP, h.one.IP))
	f.hangUp(t)
	eventually(t, "the reload is done", func() bool { return strings.Contains(f.read(t, "log"), "configuration reloaded") })
	goesTo("alice@example.org", h.two.IP)
}
