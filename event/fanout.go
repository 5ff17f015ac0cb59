package event

// Fanout gives each event to several sinks, in order.
type Fanout []Sink

// Emit implements Sink.
func (f Fanout) Emit(e Event) {
	for _, s := range f {
		s.Emit(e)
	}
}

// Discard drops events.
type Discard struct{}

// Emit implements Sink.
func (Discard) Emit(Event) {}
