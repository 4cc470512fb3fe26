# glmnet and cv.glmnet: the response at one lambda, fixed at packaging. Both want a matrix, whose columns are made anew
# from each request's columns: those of the same name, else those that model.matrix() makes of the columns (or of the
# formula given as an option), factors with all of the signature's levels. Rows with missing values are left out, as
# model.matrix() does.

model_predict.glmnet <- function(model, newdata, options) {
  glmnet_answer(model, model, newdata, options)
}

model_predict.cv.glmnet <- function(model, newdata, options) {
  glmnet_answer(model, model$glmnet.fit, newdata, options)
}

glmnet_answer <- function(model, fit, newdata, options) {
  newx <- glmnet_newx(glmnet_columns(fit), newdata, options$formula)
  answer <- stats::predict(model, newx, s = options$s, type = "response")
  if (inherits(fit, "multnet")) {
    return(class_and_probabilities(matrix(answer, ncol = length(fit$classnames)), fit$classnames))
  }
  if (inherits(fit, "mrelnet")) {
    return(matrix(answer, nrow(newx), dimnames = list(NULL, dimnames(answer)[[2L]])))
  }
  as.vector(answer)
}

glmnet_columns <- function(fit) {
  rownames(if (is.list(fit$beta)) fit$beta[[1L]] else fit$beta)
}

#' The matrix for predict(): the wanted columns, for the rows without missing values.
#' @noRd
glmnet_newx <- function(wanted, newdata, formula = NULL) {
  if (is.null(formula) && setequal(wanted, names(newdata))) {
    whole <- take_rows(newdata, which(stats::complete.cases(newdata)))
    return(matrix(as.double(unlist(lapply(whole[wanted], as.double))), ncol = length(wanted),
      dimnames = list(NULL, wanted)))
  }
  formula <- stats::as.formula(if (is.null(formula)) "~ ." else formula, env = globalenv())
  frame <- stats::model.frame(formula, newdata, na.action = stats::na.omit)
  terms <- attr(frame, "terms")
  text <- vapply(frame, is.character, NA) # only in a modeller's sample; a request's are factors
  frame[text] <- lapply(frame[text], factor)
  if (!identical(attr(terms, "variables"), attr(terms, "predvars"))) {
    abort("the formula has a term that is made from all rows of the data, such as poly() or scale(): its training ",
      "values are not in a glmnet. Give package_model(predict = function(model, newdata) ...) that holds them")
  }
  factors <- Filter(function(name) is.factor(frame[[name]]), names(frame))
  every_level <- lapply(stats::setNames(nm = factors), function(name) {
    stats::contrasts(frame[[name]], contrasts = FALSE)
  })
  for (contrasts in list(NULL, every_level)) {
    x <- stats::model.matrix(terms, frame, contrasts.arg = contrasts)
    if (all(wanted %in% colnames(x))) {
      refuse_unused(x, terms, wanted, names(newdata))
      return(x[, wanted, drop = FALSE])
    }
  }
  abort("the model's x has the columns ", quoted(wanted), ", which cannot be made from the sample's by ~ .: give the ",
    "formula that made them, as in options = list(formula = \"~ a * b\"), or package_model(predict = ...)")
}

#' A column that no wanted column comes from, the response perhaps, is none that a caller should have to send.
#' @noRd
refuse_unused <- function(x, terms, wanted, columns) {
  used <- unique(attr(x, "assign")[colnames(x) %in% wanted])
  variables <- all.vars(parse(text = attr(terms, "term.labels")[used], keep.source = FALSE))
  unused <- setdiff(columns, variables)
  if (length(unused) > 0L) {
    abort("the model's x has nothing of the sample's ", quoted(unused), ": leave that out of the sample, or name the ",
      "others by inputs=")
  }
}

model_options.glmnet <- function(model, options) {
  if (is.null(options$s) && length(model$lambda) == 1L) options$s <- as.double(model$lambda)
  if (!is.numeric(options$s)) {
    abort("a glmnet is a path of models: say which by options = list(s = ) with its lambda, a number, or package a ",
      "cv.glmnet")
  }
  glmnet_options(model, options)
}

model_options.cv.glmnet <- function(model, options) {
  if (is.null(options$s)) options$s <- "lambda.1se"
  if (is.character(options$s) && !options$s %in% c("lambda.1se", "lambda.min")) {
    abort("s must be \"lambda.1se\", \"lambda.min\" or a number")
  }
  glmnet_options(model$glmnet.fit, options)
}

glmnet_options <- function(fit, options) {
  refuse_options(options[setdiff(names(options), c("s", "formula"))], "a glmnet answers its response at s")
  if (isTRUE(fit$offset)) {
    abort("the model was fitted with an offset, which predict() wants apart: give package_model(predict = ",
      "function(model, newdata) ...) that calls it with newoffset")
  }
  if (is.numeric(options$s)) options$s <- as.double(options$s)
  if (!is.null(options$formula)) {
    formula <- tryCatch(stats::as.formula(options$formula, env = globalenv()), error = function(e) NULL)
    if (length(formula) != 2L) abort("formula must be the text of one right-hand side, as in \"~ a + b:c\"")
  }
  options
}

#' glmnet knows only its x: text whose values are among its columns is a factor with the levels of the sample, and a
#' level too few is found by a column that is missing.
#' @noRd
model_levels.glmnet <- function(model, sample) {
  columns <- glmnet_columns(model)
  text <- Filter(function(name) is.character(sample[[name]]), names(sample))
  refuse_text(intersect(text, columns), "glmnet")
  levels <- lapply(stats::setNames(nm = text), function(name) sort(unique(sample[[name]]), method = "radix"))
  parts <- unlist(strsplit(columns, ":", fixed = TRUE))
  levels[vapply(text, function(name) any(paste0(name, levels[[name]]) %in% parts), NA)]
}

model_levels.cv.glmnet <- function(model, sample) {
  model_levels.glmnet(model$glmnet.fit, sample)
}

model_packages.glmnet <- function(model) {
  "glmnet"
}

model_packages.cv.glmnet <- function(model) {
  "glmnet"
}

model_slim.glmnet <- function(model) {
  drop_parts(model, character())
}

model_slim.cv.glmnet <- function(model) {
  model$glmnet.fit <- model_slim.glmnet(model$glmnet.fit)
  drop_parts(model, c("fit.preval", "foldid"))
}
