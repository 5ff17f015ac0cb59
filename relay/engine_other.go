//go:build !linux

package relay

type loops struct{}

func (e *Engine) startLoop(Pair, func(Stats)) *Session { return nil }
func (e *Engine) closeLoops()                          {}
func (e *Engine) loopSessions() []*Session             { return nil }
func (e *Engine) addLoops(*Counters)                   {}
