super::streams!(sqlx::Postgres);
