package lmtp

import (
	"sync"

	"dproxy/login"
)

// users counts the transactions that each user is a recipient of now, for lmtp_user_concurrency_limit. All
// connections with the same settings share one.
type users struct {
	mu    sync.Mutex
	count map[string]int
}

func newUsers(*login.Terms) any { return &users{count: map[string]int{}} }

func (f *front) users() *users { return f.c.Derived(newUsers).(*users) }

// enter counts one more, unless there are limit already. 0 is no limit.
func (u *users) enter(name string, limit uint) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if limit > 0 && uint(u.count[name]) >= limit {
		return false
	}
	u.count[name]++
	return true
}

func (u *users) leave(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count[name]--; u.count[name] <= 0 {
		delete(u.count, name)
	}
}

// claim takes a place among a user's deliveries for the rest of the transaction.
func (t *transaction) claim(user string) bool {
	if !t.f.users().enter(user, t.f.c.Settings().LMTPUserConcurrencyLimit) {
		return false
	}
	t.users = append(t.users, user)
	return true
}
