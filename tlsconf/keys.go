package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// certificate is a certificate with its key, as the settings hold them.
type certificate struct {
	setting, pem       string
	keySetting, keyPEM string
	password           string
}

// pair parses a certificate chain with its key. The errors have Dovecot's wording.
func pair(c certificate) (tls.Certificate, error) {
	var none tls.Certificate
	if why := badCertificate(c); why != "" {
		return none, fmt.Errorf("Can't load SSL certificate (%s setting): %s", c.setting, why)
	}
	if c.keyPEM == "" {
		return none, fmt.Errorf("Can't load SSL private key (%s setting): The key is empty", c.keySetting)
	}
	key, err := decrypt([]byte(c.keyPEM), c.password)
	if err != nil {
		return none, fmt.Errorf("Can't load SSL private key (%s setting): %w", c.keySetting, err)
	}
	cert, err := tls.X509KeyPair([]byte(c.pem), key)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "tls: ")
		if strings.Contains(text, "does not match") {
			text = "Key is for a different cert than " + c.setting
		}
		return none, fmt.Errorf("Can't load SSL private key (%s setting): %s", c.keySetting, text)
	}
	return cert, nil
}

// badCertificate says what is wrong with the PEM text of a certificate, "" for nothing.
func badCertificate(c certificate) string {
	switch {
	case c.pem == "":
		return "The certificate is empty"
	case strings.Contains(c.pem, "-----BEGIN CERTIFICATE-----"):
		return ""
	case strings.Contains(c.pem, "PRIVATE KEY---"):
		return "The file contains a private key (you've mixed " + c.setting + " and " + c.keySetting + " settings)"
	case !strings.Contains(c.pem, "\n"):
		return "There is no valid PEM certificate. (You probably forgot '<' from " + c.setting + "=<" + c.pem + ")"
	}
	return "There is no valid PEM certificate."
}

// decrypt returns a PEM key without its password. Only the old OpenSSL format can be decrypted.
func decrypt(key []byte, password string) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return key, nil
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		return nil, errors.New("keys encrypted in PKCS#8 format can't be read; store the key without a password (openssl pkey -in KEY -out NEW)")
	}
	//lint:ignore SA1019 the format that ssl_key_password is used with
	if !x509.IsEncryptedPEMBlock(block) {
		return key, nil
	}
	if password == "" {
		return nil, errors.New("SSL private key file is password protected, but password isn't given")
	}
	//lint:ignore SA1019 as above
	der, err := x509.DecryptPEMBlock(block, []byte(password))
	if err != nil {
		return nil, errors.New("Couldn't parse private SSL key (maybe ssl_key_password is wrong?)")
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
}

func pool(setting, pem string) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(pem)) {
		return nil, fmt.Errorf("Couldn't parse %s: no certificate found", setting)
	}
	return p, nil
}
