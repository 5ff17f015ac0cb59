package pop3

// startTLS answers STLS. Nothing that was read before the handshake is run, and a name that was sent
// in clear text is forgotten.
func (f *front) startTLS(string) (bool, error) {
	switch {
	case f.c.TLS():
		f.c.Send("-ERR TLS is already active.\r\n")
		return false, nil
	case !f.c.Terms().OfferTLS:
		f.c.Send("-ERR TLS support isn't enabled.\r\n")
		return false, nil
	}
	f.c.Send("+OK Begin TLS negotiation now.\r\n")
	f.user, f.hasUser = "", false
	return false, f.c.StartTLS()
}
