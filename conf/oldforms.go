package conf

// oldForms is the state of the conversion of old configurations.
type oldForms struct{}

func (p *parser) oldForm(l line) (bool, error) { return false, nil }
