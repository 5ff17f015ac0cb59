package login

import "bytes"

// IsHTTPMethod tells whether a line's first word is a method of HTTP.
func IsHTTPMethod(word string) bool {
	switch word {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT":
		return true
	}
	return false
}

// EndsAsHTTP tells whether a line ends in the version of an HTTP request.
func EndsAsHTTP(line []byte) bool {
	line = bytes.TrimRight(line, "\r\n ")
	i := bytes.LastIndexByte(line, ' ')
	return bytes.HasPrefix(line[i+1:], []byte("HTTP/1."))
}

// HTTPRequest ends a connection on which a browser was made to speak: mail commands in the body of
// its request are never run.
func HTTPRequest() error {
	return &End{Log: "HTTP request on mail port", Label: "http_on_mail_port", Linger: true}
}
