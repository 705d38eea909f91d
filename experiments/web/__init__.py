"""``cosim serve``: the HTTP interface and the dashboard, on this machine unless told otherwise (extra ``web``)."""
