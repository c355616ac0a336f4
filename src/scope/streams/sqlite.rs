super::streams!(sqlx::Sqlite);
