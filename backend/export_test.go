package backend

import "time"

// SetPause changes the pause between attempts.
func (d *Dialer) SetPause(pause time.Duration) { d.pause = pause }
