package conf

import (
	"io"
	"strings"
	"sync"
)

// builtinServices are the services of Dovecot 2.3 and what they set, in Dovecot's own language and order.
const builtinServices = `
service managesieve-login {
  chroot = login
  executable = managesieve-login
  protocol = sieve
  service_count = 1
  type = login
  user = '$default_login_user'
  inet_listener sieve {
    port = 4190
  }
}
service managesieve {
  client_limit = 1
  executable = managesieve
  protocol = sieve
  service_count = 1
  unix_listener login/sieve {
    mode = 0666
  }
}
service tcpwrap {
  client_limit = 1
  executable = tcpwrap
  user = '$default_internal_user'
}
service health-check {
  client_limit = 1
  drop_priv_before_exec = yes
  executable = script -p health-check.sh
  user = '$default_internal_user'
}
service submission {
  client_limit = 1
  executable = submission
  extra_groups = '$default_internal_group'
  process_limit = 1024
  protocol = submission
  service_count = 1
  unix_listener login/submission {
    mode = 0666
  }
}
service submission-login {
  chroot = login
  executable = submission-login
  protocol = submission
  service_count = 1
  type = login
  user = '$default_login_user'
  inet_listener submission {
    port = 587
  }
}
service stats {
  executable = stats
  idle_kill = 4294967295 secs
  process_limit = 1
  user = '$default_internal_user'
  unix_listener stats-reader {
  }
  unix_listener stats-writer {
    group = '$default_internal_group'
    mode = 0660
  }
  unix_listener login/stats-writer {
    user = '$default_login_user'
  }
}
service replicator {
  executable = replicator
  idle_kill = 4294967295 secs
  process_limit = 1
  unix_listener replicator {
    user = '$default_internal_user'
  }
  unix_listener replicator-doveadm {
    mode = 00
    user = '$default_internal_user'
  }
}
service aggregator {
  chroot = .
  executable = aggregator
  user = '$default_internal_user'
  unix_listener replication-notify {
  }
  fifo_listener replication-notify-fifo {
  }
}
service pop3 {
  client_limit = 1
  executable = pop3
  extra_groups = '$default_internal_group'
  process_limit = 1024
  protocol = pop3
  service_count = 1
  unix_listener login/pop3 {
    mode = 0666
  }
}
service pop3-login {
  chroot = login
  executable = pop3-login
  protocol = pop3
  service_count = 1
  type = login
  user = '$default_login_user'
  inet_listener pop3 {
    port = 110
  }
  inet_listener pop3s {
    port = 995
    ssl = yes
  }
}
service old-stats {
  chroot = empty
  executable = old-stats
  idle_kill = 4294967295 secs
  process_limit = 1
  user = '$default_internal_user'
  unix_listener old-stats {
  }
  fifo_listener old-stats-mail {
  }
  fifo_listener old-stats-user {
  }
}
service log {
  executable = log
  idle_kill = 4294967295 secs
  process_limit = 1
  type = log
  unix_listener log-errors {
  }
}
service lmtp {
  client_limit = 1
  executable = lmtp
  extra_groups = '$default_internal_group'
  protocol = lmtp
  unix_listener lmtp {
    mode = 0666
  }
}
service ipc {
  chroot = empty
  executable = ipc
  process_limit = 1
  user = '$default_internal_user'
  unix_listener ipc {
    user = '$default_internal_user'
  }
  unix_listener login/ipc-proxy {
    user = '$default_login_user'
  }
}
service indexer-worker {
  client_limit = 1
  executable = indexer-worker
  extra_groups = '$default_internal_group'
  process_limit = 10
  type = worker
  unix_listener indexer-worker {
    user = '$default_internal_user'
  }
}
service indexer {
  executable = indexer
  process_limit = 1
  user = '$default_internal_user'
  unix_listener indexer {
    mode = 0666
  }
}
service imap {
  client_limit = 1
  executable = imap
  extra_groups = '$default_internal_group'
  process_limit = 1024
  protocol = imap
  service_count = 1
  unix_listener login/imap {
    mode = 0666
  }
  unix_listener imap-master {
  }
}
service imap-urlauth-worker {
  client_limit = 1
  executable = imap-urlauth-worker
  extra_groups = '$default_internal_group'
  process_limit = 1024
  protocol = imap
  service_count = 1
  unix_listener imap-urlauth-worker {
    user = '$default_internal_user'
  }
}
service imap-urlauth {
  client_limit = 1
  executable = imap-urlauth
  process_limit = 1024
  protocol = imap
  service_count = 1
  user = '$default_internal_user'
  unix_listener token-login/imap-urlauth {
    mode = 0666
  }
}
service imap-urlauth-login {
  chroot = token-login
  executable = imap-urlauth-login
  protocol = imap
  service_count = 1
  type = login
  user = '$default_login_user'
  unix_listener imap-urlauth {
    mode = 0666
  }
}
service imap-login {
  chroot = login
  executable = imap-login
  protocol = imap
  service_count = 1
  type = login
  user = '$default_login_user'
  inet_listener imap {
    port = 143
  }
  inet_listener imaps {
    port = 993
    ssl = yes
  }
}
service imap-hibernate {
  executable = imap-hibernate
  protocol = imap
  user = '$default_internal_user'
  unix_listener imap-hibernate {
    group = '$default_internal_group'
    mode = 0660
  }
}
service doveadm {
  client_limit = 1
  executable = doveadm-server
  extra_groups = '$default_internal_group'
  service_count = 1
  unix_listener doveadm-server {
  }
}
service dns-client {
  client_limit = 1
  executable = dns-client
  user = '$default_internal_user'
  unix_listener dns-client {
    mode = 0666
  }
  unix_listener login/dns-client {
    mode = 0666
  }
}
service director {
  chroot = .
  executable = director
  idle_kill = 4294967295 secs
  process_limit = 1
  user = '$default_internal_user'
  unix_listener login/director {
    mode = 00
  }
  unix_listener director-admin {
  }
  fifo_listener login/proxy-notify {
    mode = 00
  }
}
service dict {
  client_limit = 1
  executable = dict
  user = '$default_internal_user'
  unix_listener dict {
    group = '$default_internal_group'
    mode = 0660
  }
}
service dict-async {
  executable = dict
  user = '$default_internal_user'
  unix_listener dict-async {
    group = '$default_internal_group'
    mode = 0660
  }
}
service config {
  executable = config
  idle_kill = 4294967295 secs
  type = config
  unix_listener config {
  }
}
service auth {
  executable = auth
  process_limit = 1
  user = '$default_internal_user'
  unix_listener login/login {
    mode = 0666
  }
  unix_listener token-login/tokenlogin {
    mode = 0666
  }
  unix_listener auth-login {
    user = '$default_internal_user'
  }
  unix_listener auth-client {
    user = '$default_internal_user'
  }
  unix_listener auth-userdb {
    mode = 0666
    user = '$default_internal_user'
  }
  unix_listener auth-master {
  }
}
service auth-worker {
  client_limit = 1
  executable = auth -w
  type = worker
  unix_listener auth-worker {
    user = '$default_internal_user'
  }
}
service anvil {
  chroot = empty
  executable = anvil
  idle_kill = 4294967295 secs
  process_limit = 1
  process_min_avail = 1
  type = anvil
  user = '$default_internal_user'
  unix_listener anvil {
  }
  unix_listener anvil-auth-penalty {
  }
}
`

// builtins is the tree of builtinServices. It never changes.
var builtins = sync.OnceValue(func() *node {
	c := &Config{}
	p := newParser(c, Options{})
	p.push("<defaults>", io.NopCloser(strings.NewReader(builtinServices)))
	if err := p.run(); err != nil {
		panic("conf: built-in services: " + err.Error())
	}
	return c.buckets[0].root
})

// at returns the section below n at a path: a service's id, or a service's id, a kind of listener and
// the listener's id. It is nil when there is none.
func (n *node) at(path []string) *node {
	n = n.child("service", path[0])
	if n != nil && len(path) == 3 {
		n = n.child(path[1], path[2])
	}
	return n
}
