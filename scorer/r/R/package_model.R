package_model <- function(...) stop("not yet")
