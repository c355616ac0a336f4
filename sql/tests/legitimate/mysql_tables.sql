-- The tables of a shop, as a MariaDB migration creates them.
CREATE TABLE countries (code CHAR(2) PRIMARY KEY, name VARCHAR(100) NOT NULL);
CREATE TABLE customers (tenant_id BIGINT NOT NULL, id BIGINT NOT NULL AUTO_INCREMENT, email VARCHAR(200) NOT NULL, name VARCHAR(200), country CHAR(2), created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, email), KEY (id));
CREATE TABLE orders (tenant_id BIGINT NOT NULL, id BIGINT NOT NULL AUTO_INCREMENT, customer_id BIGINT, status VARCHAR(20) NOT NULL DEFAULT 'new', total DECIMAL(12, 2) NOT NULL DEFAULT 0, meta JSON, placed_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, shipped_at DATETIME, PRIMARY KEY (tenant_id, id), KEY (id));
CREATE TABLE items (tenant_id BIGINT NOT NULL, order_id BIGINT NOT NULL, line INT NOT NULL, sku VARCHAR(50) NOT NULL, quantity INT NOT NULL, price DECIMAL(12, 2) NOT NULL, PRIMARY KEY (tenant_id, order_id, line));
CREATE TABLE products (tenant_id BIGINT NOT NULL, sku VARCHAR(50) NOT NULL, name VARCHAR(200) NOT NULL, price DECIMAL(12, 2) NOT NULL DEFAULT 0, stock INT NOT NULL DEFAULT 0, PRIMARY KEY (tenant_id, sku), FULLTEXT (name));
CREATE TABLE counters (tenant_id BIGINT NOT NULL, name VARCHAR(50) NOT NULL, n BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (tenant_id, name));
CREATE TABLE categories (tenant_id BIGINT NOT NULL, id BIGINT NOT NULL, parent_id BIGINT, name VARCHAR(100), PRIMARY KEY (tenant_id, id));
