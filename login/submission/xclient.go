package submission

// xclient takes the identity that a trusted client forwards.
func (f *front) xclient(string) (bool, error) {
	if !f.c.Trusted() {
		return false, f.reply("550 5.7.14 You are not from trusted IP")
	}
	f.helo, f.esmtp = "", false
	f.greet()
	return false, nil
}
