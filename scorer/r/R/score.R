score <- function(...) stop("not yet")
