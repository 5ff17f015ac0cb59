package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
)

// commonConf is the Dovecot configuration that dproxy and Dovecot share: the same bytes for both.
const commonConf = `base_dir = %[1]s/base
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = imap
listen = 127.0.0.1
default_login_user = %[7]s
default_internal_user = %[8]s
ssl = yes
ssl_cert = <%[2]s
ssl_key = <%[3]s
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_cache_size = 10 M
passdb {
  driver = static
  args = proxy=y host=127.0.0.1 port=%[4]d nopassword=y
}
service imap-login {
  service_count = 0
  process_min_avail = %[9]d
  process_limit = %[9]d
  client_limit = 20000
  vsz_limit = 0
  inet_listener imap {
    port = %[5]d
  }
  inet_listener imaps {
    port = %[6]d
    ssl = yes
  }
}
service auth {
  client_limit = 50000
}
service anvil {
  client_limit = 50000
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// writeCommon writes the configuration. Dovecot wants one login process per CPU for this load.
func writeCommon(dir string, e environment) (string, error) {
	login, internal := "dovenull", "dovecot"
	if _, err := user.Lookup(login); err != nil || os.Getuid() != 0 {
		me, err := user.Current()
		if err != nil {
			return "", err
		}
		login, internal = me.Username, me.Username
	}
	path := filepath.Join(dir, "dovecot.conf")
	text := fmt.Sprintf(commonConf, dir, e.cert, e.key, e.store, e.imap, e.imaps, login, internal, runtime.NumCPU())
	return path, os.WriteFile(path, []byte(text), 0o644)
}

func dproxyConf(dir string, e environment) ([]string, error) {
	path, err := writeCommon(dir, e)
	return []string{"-F", "-c", path}, err
}

func dovecotConf(dir string, e environment) ([]string, error) { return dproxyConf(dir, e) }

func nginxConf(dir string, e environment) ([]string, error) {
	module := "/usr/lib/nginx/modules/ngx_mail_module.so"
	load := ""
	if isFile(module) {
		load = "load_module " + module + ";\n"
	}
	text := load + fmt.Sprintf(`daemon off;
worker_processes %[1]d;
worker_rlimit_nofile 50000;
pid %[2]s/pid;
error_log %[2]s/log warn;
events { worker_connections 25000; multi_accept on; }
mail {
  auth_http 127.0.0.1:%[3]d/;
  server_name localhost;
  imap_capabilities IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+;
  proxy_timeout 24h;
  ssl_certificate %[4]s;
  ssl_certificate_key %[5]s;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:mail:10m;
  server { listen 127.0.0.1:%[6]d; protocol imap; }
  server { listen 127.0.0.1:%[7]d ssl; protocol imap; }
}
`, runtime.NumCPU(), dir, e.authHTTP, e.cert, e.key, e.imap, e.imaps)
	path := filepath.Join(dir, "nginx.conf")
	return []string{"-p", dir, "-c", path}, os.WriteFile(path, []byte(text), 0o644)
}

// haproxyConf is a balancer that knows nothing of users: what the least possible proxy costs.
func haproxyConf(dir string, e environment) ([]string, error) {
	text := fmt.Sprintf(`global
  maxconn 9700
  maxpipes 100
  nbthread %[1]d
defaults
  mode tcp
  timeout connect 5s
  timeout client 24h
  timeout server 24h
  option splice-auto
frontend imap
  bind 127.0.0.1:%[2]d
  default_backend store
frontend imaps
  bind 127.0.0.1:%[3]d ssl crt %[4]s ssl-min-ver TLSv1.2
  default_backend store
backend store
  server s1 127.0.0.1:%[5]d
`, runtime.NumCPU(), e.imap, e.imaps, e.both, e.store)
	path := filepath.Join(dir, "haproxy.cfg")
	return []string{"-db", "-f", path}, os.WriteFile(path, []byte(text), 0o644)
}
