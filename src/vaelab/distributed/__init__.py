"""Several processes that train one model: environment, process group, collectives."""
