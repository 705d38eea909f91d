"""Export caps for homes with a roof: the lower level also sells, and the power flow says what may flow back."""
