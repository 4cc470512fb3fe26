# What a model's terms tell: the columns it uses and the packages whose functions its formula calls.

#' Names of the variables on the right-hand side, offsets included.
#' @noRd
terms_inputs <- function(terms) {
  all.vars(attr(stats::delete.response(terms), "variables"))
}

# Attached in every R process.
always_attached <- c("stats", "graphics", "grDevices", "utils", "datasets", "methods", "base")

#' Packages of the functions that an expression calls, as this session finds them (ns() in a formula is splines').
#' @noRd
packages_called <- function(expression, environment = globalenv()) {
  calls <- setdiff(all.names(expression, unique = TRUE), all.vars(expression))
  found <- vapply(calls, function(name) {
    fun <- get0(name, envir = environment, mode = "function")
    if (is.null(fun) || is.primitive(fun)) "" else namespace_name(fun)
  }, "")
  unique(c(packages_named(expression), setdiff(found, c("", always_attached))))
}

#' Packages named by pkg::fun.
#' @noRd
packages_named <- function(expression) {
  if (!is.recursive(expression) || is.environment(expression)) {
    return(character())
  }
  if (is.call(expression) && (identical(expression[[1L]], quote(`::`)) || identical(expression[[1L]], quote(`:::`)))) {
    return(setdiff(as.character(expression[[2L]]), always_attached))
  }
  unique(unlist(lapply(as.list(expression), function(part) if (!missing(part)) packages_named(part))))
}

namespace_name <- function(fun) {
  home <- topenv(environment(fun))
  if (isNamespace(home)) unname(getNamespaceName(home)) else ""
}

#' The package of the predict method that R would use for a model's class; none for a bare list or function, for which
#' some package may have registered a method (caret has one for lists).
#' @noRd
predict_packages <- function(model) {
  if (!is.object(model)) {
    return(character())
  }
  if (isS4(model)) {
    home <- attr(class(model), "package")
    return(setdiff(home, c(always_attached, ".GlobalEnv")))
  }
  for (class in class(model)) {
    method <- utils::getS3method("predict", class, optional = TRUE)
    if (!is.null(method)) {
      return(setdiff(namespace_name(method), c("", always_attached)))
    }
  }
  character()
}
