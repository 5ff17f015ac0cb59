package login

import "time"

// Times are the limits that a test may shorten; zero keeps one.
type Times struct{ Login, Handshake, Exchange, Bye, Look, Word time.Duration }

// SetTimes changes the limits of connections to come.
func (s *Server) SetTimes(t Times) {
	for _, x := range []struct {
		to *time.Duration
		d  time.Duration
	}{
		{&s.times.login, t.Login},
		{&s.times.handshake, t.Handshake},
		{&s.times.exchange, t.Exchange},
		{&s.times.bye, t.Bye},
		{&s.times.look, t.Look},
		{&s.times.word, t.Word},
	} {
		if x.d != 0 {
			*x.to = x.d
		}
	}
}

// Profiles is how many sets of settings a snapshot has derived something from.
func (s *Snapshot) Profiles() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.profiles)
}

// Refs is how many hold the snapshot.
func (s *Snapshot) Refs() int64 { return s.refs.Load() }
